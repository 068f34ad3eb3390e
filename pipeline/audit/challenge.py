"""Put one challenge to one provider: fetch what was drawn from it alone, and hash it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Protocol

from ...storage.errors import HoldfastError, PeerError, SlowError, UnreachableError
from ...storage.sources.source import FileRef, Source
from ...storage.sources.transfer import Transfer

OK = "OK"
_AGAIN = frozenset({"SLOW", "UNREACHABLE", "TRUNCATED"})  # may be the road's fault: asked again before it counts
_TRIES = 3


class Question(Protocol):
    """Something that a source is asked for. Its text says what."""

    @property
    def number(self) -> int:
        """Its place among those of an audit."""

    def put(self, source: Source, transfer: Transfer) -> bool:
        """Ask for it; whether what came is right. Raises what sources raise."""


@dataclass(frozen=True, slots=True)
class LeafQuestion:
    """A leaf of a file."""

    number: int
    file: FileRef
    leaf: int

    def put(self, source: Source, transfer: Transfer) -> bool:
        """See `Question.put`."""
        right = False

        def on_leaf(leaf: int, data: memoryview) -> bool:
            nonlocal right
            right = self.file.layout.leaf_cid(leaf).matches(data)
            return False

        source.fetch_leaves(self.file, self.leaf, self.leaf + 1, transfer, on_leaf)
        return right

    def __str__(self) -> str:
        return f"leaf {self.leaf} of {self.file.path or self.file.root}"  # a root that is a file has no path


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question: a verdict of `storage.errors`, or OK; bytes received, seconds, the reason in words."""

    question: Question
    verdict: str
    bytes: int
    seconds: float
    reason: str = ""


def ask(source: Source, question: Question, *, deadline_s: float, stop: threading.Event) -> Answer:
    """Ask, and again when it may have been the road. Wrong bytes and refusals count at once."""
    started = time.monotonic()
    received = 0
    answer = Answer(question, "UNREACHABLE", 0, 0.0, "not asked")
    for _ in range(_TRIES):
        if stop.is_set():
            break
        verdict, reason, count = _once(source, question, deadline_s)
        received += count
        answer = Answer(question, verdict, received, time.monotonic() - started, reason)
        if verdict not in _AGAIN:
            break
    return answer


def _once(source: Source, question: Question, deadline_s: float) -> tuple[str, str, int]:
    transfer = Transfer()
    timer = threading.Timer(deadline_s, transfer.cancel, [SlowError(f"no answer within {deadline_s:g} s")])
    timer.daemon = True
    timer.start()
    try:
        right = question.put(source, transfer)
    except PeerError as error:
        return error.verdict, error.message, transfer.received
    except HoldfastError as error:
        return UnreachableError.verdict, error.message, transfer.received
    finally:
        timer.cancel()
    if right:
        return OK, "", transfer.received
    return "WRONG_BYTES", f"{question} is not what it should be", transfer.received


__all__ = ["OK", "Answer", "LeafQuestion", "Question", "ask"]

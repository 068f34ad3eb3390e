"""`Auditee`: one provider under audit: its own threads ask it one question after another, and count the answers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ...storage.sources.source import Source
from .challenge import OK, Answer, Question, ask
from .draw import loss_at_most

SILENT = 8  # answers one after the other that were none: who is that quiet is not asked for the rest
_NO_ANSWER = frozenset({"SLOW", "UNREACHABLE"})
_WORST = ("WRONG_BYTES", "OVERSIZE", "WITHHELD", "MISSING", "TRUNCATED", "SLOW", "FORBIDDEN", "UNREACHABLE")


@dataclass(frozen=True, slots=True)
class ProviderVerdict:
    """One provider: how many of its answers were of which verdict, and what that says.

    `verdict` is OK when all were; else the worst of them. `loss_at_most`: the part of all bytes that may be missing
    there at `CONFIDENCE`. It says that they can be retrieved through this provider, not where they are stored.
    `gave_up_after`: so many questions were asked, until it had been silent for too long; the rest counts as failed.
    """

    name: str
    url: str
    verdict: str
    samples: int
    failed: int
    verdicts: dict[str, int]
    loss_at_most: float
    bytes: int
    seconds: float
    first_failure: str = ""
    gave_up_after: int | None = None

    @property
    def ok(self) -> bool:
        """Whether every answer was right."""
        return self.failed == 0


class Auditee:
    """Several threads run `work` at a time. `on_answers` is told how many questions were done with."""

    def __init__(
        self,
        source: Source,
        questions: Iterator[Question],
        samples: int,
        deadline_s: float,
        on_answers: Callable[[int], None],
    ) -> None:
        self._source, self._questions, self._samples = source, questions, samples
        self._deadline_s, self._on_answers = deadline_s, on_answers
        self._verdicts: Counter[str] = Counter()
        self._asked = self._silent = self._bytes = 0
        self._seconds = 0.0
        self._first: Answer | None = None  # of the failures, by the order of the questions
        self._gave_up: str | None = None  # the verdict of what was not asked
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def work(self) -> None:
        """Ask until there is nothing left to ask."""
        while (question := self._next()) is not None:
            self._count(ask(self._source, question, deadline_s=self._deadline_s, stop=self._stop))

    def stop(self) -> None:
        """Ask nothing more."""
        self._stop.set()

    def _next(self) -> Question | None:
        with self._lock:
            return None if self._stop.is_set() else next(self._questions, None)

    def _count(self, answer: Answer) -> None:
        with self._lock:
            self._asked += 1
            self._verdicts[answer.verdict] += 1
            self._bytes += answer.bytes
            self._seconds = max(self._seconds, answer.seconds)
            if answer.verdict != OK and (self._first is None or answer.question.number < self._first.question.number):
                self._first = answer
            self._silent = self._silent + 1 if answer.verdict in _NO_ANSWER else 0
            if self._silent >= SILENT and self._asked < self._samples and not self._stop.is_set():
                self._gave_up = answer.verdict
                self._stop.set()
        self._on_answers(1)

    def verdict(self) -> ProviderVerdict:
        """What it comes to, when all threads have ended."""
        verdicts, asked = self._verdicts.copy(), self._asked
        rest = self._samples - asked if self._gave_up is not None else 0
        if self._gave_up is not None:
            verdicts[self._gave_up] += rest
            self._on_answers(rest)
        count, failed = asked + rest, asked + rest - verdicts[OK]
        worst = next((verdict for verdict in _WORST if verdicts[verdict]), OK)
        if failed and worst == OK:  # of a kind that has no rank
            worst = next(verdict for verdict in verdicts if verdict != OK)
        first = self._first
        return ProviderVerdict(
            self._source.name, self._source.url, worst, count, failed,
            {verdict: number for verdict, number in verdicts.items() if number},
            loss_at_most(count, failed), self._bytes, self._seconds,
            f"{first.question}: {first.reason}" if first else "",
            asked if rest else None,
        )  # fmt: skip


__all__ = ["SILENT", "Auditee", "ProviderVerdict"]

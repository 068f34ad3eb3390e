"""`FetcherClient`: the fetcher of the cache folder, in the place of an engine of this process."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...storage.blocks.block import Block
from ...storage.cid import CID
from ...storage.errors import HoldfastError
from ...storage.fetch.scoreboard import SourceStats
from ...storage.sources.source import FileRef, Place
from ..fetching import Report
from ..spare import CachedFile
from .start import reach
from .surroundings import surroundings
from .terms import Terms
from .wire import PROTOCOL, HungUpError, Line, NoFetcherError, SilentError, Words, raise_error

_DEATHS = 5  # of fetchers during one wait
_GREET_S = 20.0
_CLOSE_S = 0.2  # for who only says something; who waits is not waited for
_SILENCE_S = 60.0  # of a fetcher, which says every five seconds that it works on what is waited for


@dataclass(frozen=True, slots=True)
class _Open:
    ref: FileRef
    own: int | None
    identity: list[int] | None  # of the files that we see; None: none, for the disk was full


@dataclass(frozen=True, slots=True)
class _Wanted:
    cid: CID
    root: CID
    urgency: float


class FetcherClient:
    """Safe from any thread, one at a time: who waits for bytes lets others wait with it. Belongs to one process.

    A fetcher that died is started again, and told again what is open; what it fetched is in the cache. All that asks or
    tells raises `NoFetcherError` when none works for us any more, and after `close`.
    """

    def __init__(self, folder: Path, terms: Terms, linger_s: float, silence_s: float = _SILENCE_S) -> None:
        self._folder, self._terms, self._linger_s, self._silence_s = folder, terms, linger_s, silence_s
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._files: dict[int, _Open] = {}
        self._blocks: dict[int, _Wanted] = {}
        self._line: Line | None = None
        self._lineage = 0
        self._closed = False
        self.fetchers = 0  # met so far

    def connect(self, *, start: bool) -> bool:
        """Whether there is a fetcher that works for us; with `start`, start one. Raises `ConfigError`."""
        with self._lock:
            for _ in range(_DEATHS if start else 1):
                self._check()
                sock = reach(self._folder, start=start, linger_s=self._linger_s)
                if sock is None:
                    return False
                try:
                    return self._greet(Line(sock))
                except SilentError:
                    return False
                except HungUpError:  # it was about to leave when we came, or is none
                    continue
            return False

    def _greet(self, line: Line) -> bool:
        try:
            line.patience(_GREET_S, _GREET_S)
            line.send({"protocol": PROTOCOL, "surroundings": surroundings(), "terms": self._terms.words()})
            words, _ = line.receive()
            raise_error(words)
        except BaseException:
            line.close()
            raise
        if "lineage" not in words:
            line.close()
            return False
        line.patience(self._silence_s, self._silence_s)
        self._line, self._lineage = line, int(words["lineage"])
        self.fetchers += 1
        if self._closed:  # meanwhile, by who did not wait for us, and saw no line
            self._drop_line()
            self._check()
        return True

    def _check(self) -> None:
        if self._closed:
            raise NoFetcherError("we have hung up")

    @property
    def blocks(self) -> FetcherClient:
        """See `Fetching`."""
        return self

    @property
    def lineage(self) -> int:
        """Of the fetcher that works for us: what it marked in our files is believed."""
        return self._lineage

    def _again(self) -> None:
        """The fetcher is gone: another one, and the state it needs."""
        self._drop_line()
        for _ in range(_DEATHS):
            try:
                if not self.connect(start=True):
                    break
                for number, opened in self._files.items():
                    self._say_open(number, opened)
                for number, wanted in self._blocks.items():
                    self._say_block(number, wanted)
                return
            except HungUpError:
                self._drop_line()
            except HoldfastError as error:  # it refuses our terms
                raise NoFetcherError(error.message) from error
        raise NoFetcherError("no fetcher can be reached, or none works for this process")

    def _drop_line(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def _say(self, words: Words, payload: bytes = b"") -> Line:
        self._check()
        if self._line is None:
            raise HungUpError("there is no fetcher")
        self._line.send(words, payload)
        return self._line

    def _tell(self, words: Words) -> None:
        """Say what needs no answer."""
        try:
            self._say(words)
        except HungUpError:
            self._again()

    def _ask(self, words: Words) -> tuple[Words, bytes]:
        """Say what has an answer, and wait for it. Raises what it says."""
        for _ in range(_DEATHS):
            try:
                line = self._say(words)
                answer, payload = line.receive()
                while "wait" in answer:  # it works on it
                    answer, payload = line.receive()
            except HungUpError:
                self._again()
                continue
            raise_error(answer)
            return answer, bytes(payload)
        raise NoFetcherError(f"it died {_DEATHS} times, see {self._folder / 'fetcher.log'}")

    # -- files

    def supply(self, ref: FileRef, file: CachedFile, own: int | None) -> ClientSupply:
        """See `Fetching`."""
        with self._lock:
            number = next(self._numbers)
            self._files[number] = opened = _Open(ref, own, file.identity)
            try:
                self._say_open(number, opened)
            except HungUpError:
                self._again()
            return ClientSupply(self, number, file)

    def _say_open(self, number: int, opened: _Open) -> None:
        layout = opened.ref.layout
        self._say(
            {
                "op": "open", "file": number, "root": str(opened.ref.root), "path": opened.ref.path,
                "cid": str(layout.cid), "size": layout.size, "leaf_size": layout.leaf_size,
                "lineage": opened.own or self._lineage, "distrust": opened.own is not None,
                "identity": opened.identity,
            },
            layout.digests,
        )  # fmt: skip

    def ask(self, number: int, leaves: list[int], urgency: float) -> None:
        """See `Supply.ask`."""
        with self._lock:
            self._tell({"op": "ask", "file": number, "leaves": leaves, "urgency": urgency})

    def bring(self, number: int, leaves: list[int]) -> tuple[int, bytes] | None:
        """See `Supply.bring`. A leaf and its bytes, when we do not see what the fetcher has of it."""
        with self._lock:
            words, payload = self._ask({"op": "bring", "file": number, "leaves": leaves})
            return (int(words["leaf"]), payload) if "leaf" in words else None

    def close_supply(self, number: int) -> None:
        """The file is not needed any more. A fetcher that died knows that already."""
        with self._lock:
            if self._files.pop(number, None) is not None and self._line is not None:
                try:
                    self._say({"op": "close", "file": number})
                except (HungUpError, NoFetcherError):
                    self._drop_line()

    # -- blocks

    def want_block(self, cid: CID, root: CID, place: Place | None = None, urgency: float = -1.0) -> int:
        """See `FetchEngine.want_block`."""
        with self._lock:
            number = next(self._numbers)
            self._blocks[number] = wanted = _Wanted(cid, root, urgency)
            try:
                self._say_block(number, wanted)
            except HungUpError:
                self._again()
            return number

    def _say_block(self, number: int, wanted: _Wanted) -> None:
        self._say(
            {
                "op": "want_block", "block": number, "cid": str(wanted.cid), "root": str(wanted.root),
                "urgency": wanted.urgency,
            }
        )  # fmt: skip

    def take_block(self, handle: int) -> Block:
        """See `FetchEngine.take_block`."""
        with self._lock:
            cid = self._blocks[handle].cid
            try:
                _, data = self._ask({"op": "take_block", "block": handle})
            finally:
                del self._blocks[handle]
            return Block.verify(cid, data)

    def close_file(self, handle: int) -> None:
        """See `FetchEngine.close_file`: of a block that is not needed any more."""
        with self._lock:
            if self._blocks.pop(handle, None) is not None and self._line is not None:
                try:
                    self._say({"op": "drop_block", "block": handle})
                except (HungUpError, NoFetcherError):
                    self._drop_line()

    # -- the rest

    def report(self) -> Report:
        """What the fetcher has fetched on these terms, for all its clients."""
        with self._lock:
            words, _ = self._ask({"op": "report"})
            return Report(tuple(SourceStats(*row) for row in words["sources"]), words["useful"], words["hedged"])

    def close(self) -> None:
        """Hang up; the fetcher has given back what it held for us. Idempotent.

        A thread that waits for the fetcher is not waited for: it wakes with `NoFetcherError`.
        """
        self._closed = True
        if not self._lock.acquire(timeout=_CLOSE_S):
            line = self._line
            if line is not None:
                line.cut()
            return
        try:
            if self._line is not None:
                self._line.part()
            self._line = None
        finally:
            self._lock.release()


class ClientSupply:
    """A `Supply`: of one file, by the fetcher."""

    def __init__(self, client: FetcherClient, number: int, file: CachedFile) -> None:
        self._client, self._number, self._file = client, number, file
        self._asked: set[int] = set()
        self._fetcher = client.fetchers

    def ask(self, missing: Sequence[int], urgency: float) -> list[int]:
        """See `Supply`."""
        if self._fetcher != self._client.fetchers:
            self._fetcher = self._client.fetchers
            self._asked.clear()  # the one that was asked is gone
        wanted = [leaf for leaf in missing if leaf not in self._asked]
        if wanted:
            self._asked.update(wanted)
            self._client.ask(self._number, wanted, urgency)
        return wanted

    def bring(self, missing: Sequence[int]) -> None:
        """See `Supply`."""
        found = self._client.bring(self._number, list(missing))
        if found is not None:
            self._asked.discard(found[0])  # it is in our memory alone, and asked for again when it had to leave
            self._file.write(found[0], memoryview(found[1]))

    def close(self) -> None:
        """See `Supply`."""
        self._client.close_supply(self._number)


__all__ = ["ClientSupply", "FetcherClient"]

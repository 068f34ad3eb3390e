"""`Session`: what one client of a fetcher asked for. It asks one thing at a time, and waits for answers in between."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...storage.cid import CID
from ...storage.dag.layout import FileLayout
from ...storage.errors import HoldfastError, StoreError
from ...storage.sources.source import FileRef
from ..supply import BEAT_S
from .shelf import Desk, OpenFile, Shelf
from .surroundings import surroundings
from .terms import Terms
from .wire import PROTOCOL, HungUpError, Line, Words, error_words

LOG = logging.getLogger("holdfast.fetcher")
_MAX_FILES = 4096
_MAX_BLOCKS = 4096
_GREET_S = 20.0
_SEND_S = 60.0  # a client that takes nothing for so long is stopped; it comes back when it goes on


@dataclass(frozen=True, slots=True)
class _File:
    """`apart`: the client does not see what we write, for it has other files of that name open, or none."""

    open: OpenFile
    apart: bool


class Session:
    """One connection. `serve` returns when the client has gone, or its engine is broken: then it comes again."""

    def __init__(self, line: Line, shelf: Shelf, greet_s: float = _GREET_S, send_s: float = _SEND_S) -> None:
        self._line, self._shelf, self._greet_s, self._send_s = line, shelf, greet_s, send_s
        self._desk: Desk | None = None
        self._files: dict[int, _File | HoldfastError] = {}
        self._put_off: dict[int, dict[int, float]] = {}  # file → leaf → urgency: asked for while memory was crowded
        self._blocks: dict[int, int] = {}  # the client's handles of blocks → the engine's

    def serve(self) -> None:
        """Answer until the client hangs up."""
        try:
            self._line.patience(self._greet_s, self._send_s)
            desk = self._greet()
            self._line.patience(None, self._send_s)
            while True:
                words, payload = self._line.receive()
                if desk.retired:
                    return
                self._do(desk, words, payload)
                self._catch_up()
        except HungUpError:
            return
        except Exception as error:
            if not self._shelf.closed:  # else its files and engines end under us
                LOG.error("hung up on a client: its mistake, or a bug of holdfast", exc_info=error)
            return
        finally:
            self._leave()
            self._line.close()

    def _greet(self) -> Desk:
        words, _ = self._line.receive()
        if words.get("protocol") != PROTOCOL or words.get("surroundings") != surroundings():
            self._line.send({"refused": "another version of holdfast, other proxies, or other certificates"})
            raise HungUpError("refused")
        try:
            self._desk = self._shelf.desk(Terms.parse(words["terms"]))
        except HoldfastError as error:
            self._line.send(error_words(error))
            raise HungUpError("refused") from error
        self._line.send({"lineage": self._shelf.lineage})
        return self._desk

    def _leave(self) -> None:
        if self._desk is None:
            return
        for number in list(self._files):
            self._close(self._desk, number)
        for handle in self._blocks.values():
            self._desk.engine.close_file(handle)
        self._shelf.leave(self._desk)

    def _do(self, desk: Desk, words: Words, payload: bytearray) -> None:
        what = words["op"]
        if what == "ask":
            file = self._files[words["file"]]
            if isinstance(file, _File) and self._shelf.crowded:  # the client does not ask twice
                late = self._put_off.setdefault(words["file"], {})
                late.update(dict.fromkeys(words["leaves"], float(words["urgency"])))
            elif isinstance(file, _File):
                file.open.supply.ask(words["leaves"], float(words["urgency"]))
        elif what == "open":
            self._open(desk, words, bytes(payload))
        elif what == "close":
            self._close(desk, words["file"])
        elif what == "want_block":
            if len(self._blocks) >= _MAX_BLOCKS:
                raise HungUpError("too many blocks")
            cid, root = CID.parse(words["cid"]), CID.parse(words["root"])
            self._blocks[words["block"]] = desk.engine.want_block(cid, root, urgency=float(words["urgency"]))
        elif what == "drop_block":
            desk.engine.close_file(self._blocks.pop(words["block"]))
        else:
            self._answer(desk, _ANSWERS[what], words)

    def _catch_up(self) -> None:
        while self._put_off and not self._shelf.crowded:
            number, late = self._put_off.popitem()
            file = self._files[number]
            if isinstance(file, _File):
                for leaf, urgency in late.items():
                    file.open.supply.ask([leaf], urgency)

    def _answer(self, desk: Desk, work: Callable[[Session, Desk, Words], tuple[Words, bytes]], words: Words) -> None:
        try:
            found, payload = work(self, desk, words)
        except HungUpError:
            raise
        except HoldfastError as error:
            found, payload = error_words(error), b""
            if isinstance(error, StoreError):  # an engine whose disk failed stays broken
                self._shelf.retire(desk)
        self._line.send(found, payload)

    def _open(self, desk: Desk, words: Words, digests: bytes) -> None:
        if len(self._files) >= _MAX_FILES:
            raise HungUpError("too many files")
        layout = FileLayout(CID.parse(words["cid"]), words["size"], words["leaf_size"], digests)
        ref = FileRef(CID.parse(words["root"]), words["path"], layout)
        try:
            opened = self._shelf.open(desk, ref, words["lineage"], distrust=bool(words["distrust"]))
        except HoldfastError as error:
            self._files[words["file"]] = error  # said when somebody waits for it
        else:
            self._files[words["file"]] = _File(opened, apart=words["identity"] != opened.file.identity)

    def _close(self, desk: Desk, number: int) -> None:
        file = self._files.pop(number)
        self._put_off.pop(number, None)
        if isinstance(file, _File):
            self._shelf.close(desk, file.open)

    def _beat(self) -> None:
        self._line.send({"wait": True})

    def _bring(self, desk: Desk, words: Words) -> tuple[Words, bytes]:
        file = self._files[words["file"]]
        if not isinstance(file, _File):
            return error_words(file), b""
        cached, late = file.open.file, self._put_off.get(words["file"], {})
        for leaf in words["leaves"]:
            late.pop(leaf, None)  # fetched now: again later would be for nobody
        missing = [leaf for leaf in words["leaves"] if not cached.has(leaf)]
        if missing and len(missing) == len(words["leaves"]):
            file.open.supply.bring(missing, self._beat)
        for leaf in words["leaves"]:
            data = cached.leaf(leaf) if file.apart else cached.spared(leaf)
            if data is not None:
                return {"leaf": leaf}, data
        return {}, b""

    def _take_block(self, desk: Desk, words: Words) -> tuple[Words, bytes]:
        handle = self._blocks.pop(words["block"])
        try:
            while not desk.engine.wait(handle, [0], timeout_s=BEAT_S):
                self._beat()
            return {}, desk.engine.take_block(handle).data
        finally:
            desk.engine.close_file(handle)

    def _report(self, desk: Desk, _: Words) -> tuple[Words, bytes]:
        engine = desk.engine
        sources: list[list[Any]] = [
            [source.name, source.url, source.requests, source.bytes, source.wrong, source.verdicts, source.state]
            for source in engine.stats()
        ]
        return {"sources": sources, "useful": engine.useful_bytes, "hedged": engine.planner.hedged_bytes}, b""


_ANSWERS: dict[str, Callable[[Session, Desk, Words], tuple[Words, bytes]]] = {
    "bring": Session._bring,
    "take_block": Session._take_block,
    "report": Session._report,
}

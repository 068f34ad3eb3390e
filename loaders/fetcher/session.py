"""`Session`: what one client of a fetcher asked for. It asks one thing at a time, and waits for answers in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...storage.cid import CID
from ...storage.dag.layout import FileLayout
from ...storage.errors import HoldfastError
from ...storage.sources.source import FileRef
from .shelf import Desk, OpenFile, Shelf
from .terms import Terms, proxies
from .wire import PROTOCOL, HungUpError, Line, Words, error_words

_MAX_FILES = 4096
_MAX_BLOCKS = 4096


class Session:
    """One connection. `serve` returns when the client has gone."""

    def __init__(self, line: Line, shelf: Shelf) -> None:
        self._line, self._shelf = line, shelf
        self._terms: Terms | None = None
        self._desk: Desk
        self._files: dict[int, OpenFile | HoldfastError] = {}
        self._blocks: dict[int, int] = {}  # the client's handles of blocks → the engine's

    def serve(self) -> None:
        """Answer until the client hangs up."""
        try:
            if not self._greet():
                return
            while True:
                words, payload = self._line.receive()
                self._do(words, payload)
        except (HungUpError, KeyError, TypeError, ValueError):
            return  # gone, or not one of ours
        finally:
            self._leave()
            self._line.close()

    def _greet(self) -> bool:
        words, _ = self._line.receive()
        if words.get("protocol") != PROTOCOL or words.get("proxies") != proxies():
            self._line.send({"refused": "another version of holdfast, or other proxies"})
            return False
        terms = Terms.parse(words["terms"])
        try:
            self._desk = self._shelf.desk(terms)
        except HoldfastError as error:
            self._line.send(error_words(error))
            return False
        self._terms = terms
        self._line.send({"lineage": self._shelf.lineage})
        return True

    def _leave(self) -> None:
        for number in list(self._files):
            self._close(number)
        if self._terms is not None:
            for handle in self._blocks.values():
                self._desk.engine.close_file(handle)
            self._shelf.leave(self._terms)

    def _do(self, words: Words, payload: bytearray) -> None:
        what = words["op"]
        if what == "ask":
            file = self._files[words["file"]]
            if isinstance(file, OpenFile):
                file.supply.ask(words["leaves"], float(words["urgency"]))
        elif what == "open":
            self._open(words, bytes(payload))
        elif what == "close":
            self._close(words["file"])
        elif what == "want_block":
            if len(self._blocks) >= _MAX_BLOCKS:
                raise HungUpError("too many blocks")
            cid, root = CID.parse(words["cid"]), CID.parse(words["root"])
            self._blocks[words["block"]] = self._desk.engine.want_block(cid, root, urgency=float(words["urgency"]))
        elif what == "drop_block":
            self._desk.engine.close_file(self._blocks.pop(words["block"]))
        else:
            self._answer(_ANSWERS[what], words)

    def _answer(self, work: Callable[[Session, Words], tuple[Words, bytes]], words: Words) -> None:
        try:
            found, payload = work(self, words)
        except (HungUpError, KeyError, TypeError, ValueError):
            raise
        except Exception as error:  # noqa: BLE001 - the client's mistake or ours: it is told, others go on
            found, payload = error_words(error), b""
        self._line.send(found, payload)

    def _open(self, words: Words, digests: bytes) -> None:
        if len(self._files) >= _MAX_FILES:
            raise HungUpError("too many files")
        layout = FileLayout(CID.parse(words["cid"]), words["size"], words["leaf_size"], digests)
        ref = FileRef(CID.parse(words["root"]), words["path"], layout)
        try:
            self._files[words["file"]] = self._shelf.open(
                self._desk, ref, words["lineage"], distrust=bool(words["distrust"])
            )
        except HoldfastError as error:
            self._files[words["file"]] = error  # said when somebody waits for it

    def _close(self, number: int) -> None:
        file = self._files.pop(number)
        if isinstance(file, OpenFile):
            self._shelf.close(self._desk, file)

    def _bring(self, words: Words) -> tuple[Words, bytes]:
        file = self._files[words["file"]]
        if not isinstance(file, OpenFile):
            raise file
        missing = [leaf for leaf in words["leaves"] if not file.file.has(leaf)]
        if missing:
            file.supply.bring(missing)
        for leaf in words["leaves"]:
            if (data := file.file.spared(leaf)) is not None:
                return {"leaf": leaf}, data
        return {}, b""

    def _take_block(self, words: Words) -> tuple[Words, bytes]:
        return {}, self._desk.engine.take_block(self._blocks.pop(words["block"])).data

    def _report(self, _: Words) -> tuple[Words, bytes]:
        engine = self._desk.engine
        sources: list[list[Any]] = [
            [source.name, source.url, source.requests, source.bytes, source.wrong, source.verdicts, source.state]
            for source in engine.stats()
        ]
        return {"sources": sources, "useful": engine.useful_bytes, "hedged": engine.planner.hedged_bytes}, b""


_ANSWERS: dict[str, Callable[[Session, Words], tuple[Words, bytes]]] = {
    "bring": Session._bring,
    "take_block": Session._take_block,
    "report": Session._report,
}

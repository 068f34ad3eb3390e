"""Closing a file while a source still delivers into it."""

import hashlib
import threading
from pathlib import Path

from holdfast.storage.cid import CID
from holdfast.storage.fetch.engine import FetchEngine
from holdfast.storage.sources.source import FileRef, OnLeaf, Place
from holdfast.storage.sources.transfer import Transfer
from support.trees import LEAF, file_dag

DATA = bytes(2 * LEAF)


class _Source:
    name, url, max_rate = "one", "http://one", None
    trusted = True

    def __init__(self) -> None:
        self.begun, self.ended = threading.Event(), threading.Event()
        self.go = threading.Event()

    def fetch_block(self, cid: CID, root: CID, transfer: Transfer, place: Place | None = None) -> bytes:
        raise NotImplementedError

    def fetch_leaves(self, file: FileRef, first: int, last: int, transfer: Transfer, on_leaf: OnLeaf) -> None:
        self.begun.set()
        self.go.wait(10)
        self.more = on_leaf(first, memoryview(DATA[:LEAF]))
        self.ended.set()

    def close(self) -> None:
        pass


class _Sink:
    """A file that notices when it is written to after it was closed."""

    def __init__(self) -> None:
        self.closed, self.late = False, False
        self.inside, self.go = threading.Event(), threading.Event()

    def write(self, leaf: int, data: memoryview) -> None:
        assert hashlib.sha256(data).digest() == hashlib.sha256(DATA[:LEAF]).digest()
        self.inside.set()
        self.go.wait(0.2)
        self.late |= self.closed


def _ref() -> FileRef:
    layout = file_dag(DATA)[0]
    return FileRef(layout.cid, "f", layout)


def test_nothing_is_written_after_a_file_is_closed(tmp_path: Path) -> None:
    source, sink = _Source(), _Sink()
    with FetchEngine([source]) as engine:
        handle = engine.open_file(_ref(), sink)
        engine.want(handle, [0, 1], 1.0)
        assert source.begun.wait(10)
        engine.close_file(handle)
        sink.closed = True
        source.go.set()
        assert source.ended.wait(10)
        assert source.more is False
    assert not sink.inside.is_set()


def test_closing_waits_for_the_leaf_that_is_being_written(tmp_path: Path) -> None:
    source, sink = _Source(), _Sink()
    source.go.set()
    with FetchEngine([source]) as engine:
        handle = engine.open_file(_ref(), sink)
        engine.want(handle, [0, 1], 1.0)
        assert sink.inside.wait(10)
        engine.close_file(handle)
        sink.closed = True
        sink.go.set()
        assert source.ended.wait(10)
    assert not sink.late

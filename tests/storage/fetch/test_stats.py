"""What `FetchEngine.stats` says while requests are under way."""

import threading

from holdfast.storage.cid import CID
from holdfast.storage.fetch.engine import FetchEngine
from holdfast.storage.sources.source import FileRef, OnLeaf, Place
from holdfast.storage.sources.transfer import Transfer
from support.trees import LEAF, file_dag

DATA = bytes(2 * LEAF)


class _Source:
    """Sends one leaf, and the other when it is told to."""

    name, url, max_rate = "one", "http://one", None
    trusted = True

    def __init__(self) -> None:
        self.sent, self.go = threading.Event(), threading.Event()

    def fetch_block(self, cid: CID, root: CID, transfer: Transfer, place: Place | None = None) -> bytes:
        raise NotImplementedError

    def fetch_leaves(self, file: FileRef, first: int, last: int, transfer: Transfer, on_leaf: OnLeaf) -> None:
        for leaf in range(first, last):
            transfer.received += LEAF
            on_leaf(leaf, memoryview(DATA)[:LEAF])
            self.sent.set()
            assert self.go.wait(20)

    def close(self) -> None:
        pass


class _Sink:
    def write(self, leaf: int, data: memoryview) -> None:
        pass


def test_bytes_of_requests_under_way_count() -> None:
    """Or a reader that has all its bytes would be told of fewer than were verified."""
    source, layout = _Source(), file_dag(DATA)[0]
    with FetchEngine([source]) as engine:
        handle = engine.open_file(FileRef(layout.cid, "f", layout), _Sink())
        engine.want(handle, [0, 1], 0.0)
        assert source.sent.wait(10)
        assert [found.bytes for found in engine.stats()] == [LEAF] == [engine.useful_bytes]
        source.go.set()
        assert engine.wait(handle, [0, 1], timeout_s=20)
        assert [found.bytes for found in engine.stats()] == [2 * LEAF]

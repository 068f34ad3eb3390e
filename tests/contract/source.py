"""What every `Source` promises: it moves bytes, judges nothing, and every wait ends."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import MissingError, PeerError, SlowError
from holdfast.storage.sources.source import FileRef, Source
from holdfast.storage.sources.transfer import Transfer
from support.trees import LEAF, file_dag

FILES = {
    "data/many.bin": random.Random(20).randbytes(10 * LEAF + 77),
    "data/ä b?#%41.bin": random.Random(21).randbytes(2 * LEAF),
    "data/one.bin": random.Random(22).randbytes(100),
    "data/empty.bin": b"",
}


def ref(root: CID, path: str) -> FileRef:
    return FileRef(root, path, file_dag(FILES[path])[0])


def read(source: Source, file: FileRef, first: int = 0, last: int | None = None) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []

    def on_leaf(leaf: int, data: memoryview) -> bool:
        found.append((leaf, bytes(data)))
        return True

    source.fetch_leaves(file, first, file.layout.leaves if last is None else last, Transfer(), on_leaf)
    return found


def parts(path: str) -> list[tuple[int, bytes]]:
    data = FILES[path]
    return list(enumerate(data[at : at + LEAF] for at in range(0, max(len(data), 1), LEAF)))


class SourceContract:
    """Run by each implementation; `root` is the tree of `FILES` that its `source` reaches."""

    @pytest.fixture
    def source(self, root: CID) -> Any:
        raise NotImplementedError

    def test_a_block_comes_as_published(self, source: Source, root: CID) -> None:
        for cid in (root, file_dag(FILES["data/many.bin"])[0].cid):
            transfer = Transfer()
            data = source.fetch_block(cid, root, transfer)
            assert cid.matches(data)
            assert transfer.received >= len(data)

    @pytest.mark.parametrize("path", FILES)
    def test_leaves_come_as_published_and_in_order(self, source: Source, root: CID, path: str) -> None:
        assert read(source, ref(root, path)) == parts(path)

    @pytest.mark.parametrize(("first", "last"), [(0, 1), (3, 7), (9, 11), (10, 11)])
    def test_a_run_of_leaves_is_just_that_run(self, source: Source, root: CID, first: int, last: int) -> None:
        assert read(source, ref(root, "data/many.bin"), first, last) == parts("data/many.bin")[first:last]

    def test_it_ends_early_when_the_reader_has_enough(self, source: Source, root: CID) -> None:
        seen: list[int] = []
        source.fetch_leaves(
            ref(root, "data/many.bin"), 0, 11, Transfer(), lambda leaf, _: seen.append(leaf) or len(seen) < 3
        )
        assert seen == [0, 1, 2]
        assert read(source, ref(root, "data/many.bin")) == parts("data/many.bin"), "and is of use afterwards"

    def test_it_raises_what_the_reader_raises(self, source: Source, root: CID) -> None:
        def refuse(leaf: int, _: memoryview) -> bool:
            raise LookupError(f"leaf {leaf}")

        with pytest.raises(LookupError, match="leaf 4"):
            source.fetch_leaves(ref(root, "data/many.bin"), 4, 6, Transfer(), refuse)
        assert read(source, ref(root, "data/one.bin")) == parts("data/one.bin")

    def test_what_it_does_not_have_is_missing(self, source: Source, root: CID) -> None:
        with pytest.raises(MissingError):
            source.fetch_block(CID.of(RAW, b"never published"), root, Transfer())
        layout = file_dag(random.Random(99).randbytes(3 * LEAF))[0]
        with pytest.raises(MissingError):
            read(source, FileRef(root, "data/absent.bin", layout))
        assert read(source, ref(root, "data/one.bin")) == parts("data/one.bin"), "which says nothing about others"

    def test_a_cancelled_request_ends_with_the_reason(self, source: Source, root: CID) -> None:
        transfer, seen = Transfer(), []
        transfer.cancel(SlowError("too slow"))
        transfer.cancel(SlowError("a later reason"))
        with pytest.raises(SlowError, match="too slow"):
            source.fetch_leaves(ref(root, "data/many.bin"), 0, 11, transfer, lambda leaf, _: seen.append(leaf) is None)
        assert seen == []
        assert read(source, ref(root, "data/many.bin")) == parts("data/many.bin")

    def test_threads_read_at_once(self, source: Source, root: CID) -> None:
        failures: list[BaseException] = []
        barrier = threading.Barrier(6)

        def work() -> None:
            barrier.wait()
            try:
                for path in FILES:
                    assert read(source, ref(root, path)) == parts(path)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures

    def test_it_can_be_used_after_close(self, source: Source, root: CID) -> None:
        for _ in range(2):
            source.close()
            assert read(source, ref(root, "data/one.bin")) == parts("data/one.bin")

    def test_it_says_who_it_is(self, source: Source) -> None:
        assert source.name
        assert isinstance(source.url, str)
        assert source.max_rate is None


class HttpSourceContract(SourceContract):
    """What is promised of sources beyond a socket. `hanging(url)` makes one that points at a server that is silent."""

    def make(self, url: str) -> Source:
        raise NotImplementedError

    @pytest.mark.parametrize("what", ["block", "leaves"])
    def test_a_waiting_request_is_cancelled_from_another_thread(
        self, hanging: Callable[[], tuple[str, threading.Event]], root: CID, what: str
    ) -> None:
        url, asked = hanging()
        source, transfer = self.make(url), Transfer()

        def cancel() -> None:
            asked.wait(10)
            transfer.cancel(SlowError("no longer wanted"))

        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(SlowError, match="no longer wanted"):
            if what == "block":
                source.fetch_block(root, root, transfer)
            else:
                source.fetch_leaves(ref(root, "data/many.bin"), 0, 11, transfer, lambda *_: True)
        thread.join()
        source.close()

    def test_nobody_listening_is_a_peer_error(self, root: CID, closed_port: int) -> None:
        source = self.make(f"http://127.0.0.1:{closed_port}")
        with pytest.raises(PeerError) as caught:
            source.fetch_block(root, root, Transfer())
        assert caught.value.verdict == "UNREACHABLE"
        with pytest.raises(PeerError):
            read(source, ref(root, "data/many.bin"))

"""`cache_bytes` holds while a pass goes on, whatever shards become when they are decompressed or decoded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from holdfast import DataLoader, IndexedDataset, StreamingDataset
from holdfast.loaders.cache import ShardCache
from holdfast.loaders.decoded_files import DecodedFile, DecodedFiles
from holdfast.loaders.errors import SampleError
from holdfast.loaders.readers.open_readers import OpenReaders
from holdfast.storage.errors import ConfigError, QuotaError
from support.mirror_server import MirrorServer

Serve = Callable[..., MirrorServer]
MB = 1_000_000
SHARDS = 12
MARKS = 40_000  # of marks, small files and pages of the manifest: some hundred bytes each


def lying(cache: Path) -> int:
    """Bytes on disk, as the disk counts them."""
    found = 0
    for name in ("shards", "decoded"):
        for path in (cache / name).glob("*"):
            try:
                found += path.stat().st_blocks * 512
            except FileNotFoundError:
                continue
    return found


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory, publish_folder: Any) -> Any:
    """Twelve shards of some KB, each 2 MB when it is decompressed."""
    source = tmp_path_factory.mktemp("bombs")
    for shard in range(SHARDS):
        lines = "".join(f'{{"n": {shard}, "t": "{"x" * 100_000}"}}\n' for _ in range(20))
        (source / f"{shard:02d}.jsonl.zst").write_bytes(zstandard.compress(lines.encode()))
    return publish_folder(source, leaf_size=16384, format="jsonl.zst")


@pytest.mark.parametrize("shuffle", [False, True])
def test_shards_that_become_large_are_closed_before_others_are_decompressed(
    bombs: Any, serve: Serve, tmp_path: Path, shuffle: bool
) -> None:
    budget = 7 * MB
    url = serve(bombs.folder).url
    # shuffled, all shards are one block: some samples of it are enough
    dataset = StreamingDataset(bombs.uri, sources=[url], cache=tmp_path, cache_bytes=budget, shuffle=shuffle, seed=3)
    most = count = 0
    for _ in zip(dataset, range(60 if shuffle else 1000)):  # noqa: B905 - as many as there are
        count += 1
        most = max(most, lying(tmp_path))
    assert count == (60 if shuffle else 20 * SHARDS)
    assert 2 * MB < most <= budget + SHARDS * 4096 + MARKS
    dataset.close()
    assert lying(tmp_path) <= budget + MARKS


def test_workers_divide_what_may_be_open(bombs: Any, serve: Serve, tmp_path: Path) -> None:
    seen: list[int] = []
    loader = DataLoader(
        bombs.uri, 4, 2, sources=[serve(bombs.folder).url], cache=tmp_path, cache_bytes=9 * MB, shuffle=False,
        collate_fn=len, prefetch_factor=1,
    )  # fmt: skip
    for size in loader:
        assert size == 4
        seen.append(lying(tmp_path))
    assert max(seen) <= 9 * MB + SHARDS * 4096 + MARKS


def test_a_shard_that_is_too_large_alone_says_which_budget_it_needs(bombs: Any, serve: Serve, tmp_path: Path) -> None:
    dataset = IndexedDataset(bombs.uri, sources=[serve(bombs.folder).url], cache=tmp_path, cache_bytes=2 * MB)
    with pytest.raises(ConfigError, match="when decompressed, and the cache takes 2000000") as caught:
        dataset[0]
    needed = int(caught.value.hint.partition("cache_bytes=")[2].partition(" ")[0])
    dataset.close()
    assert lying(tmp_path) < MB
    enough = IndexedDataset(bombs.uri, sources=[serve(bombs.folder).url], cache=tmp_path, cache_bytes=needed)
    assert enough[0]["n"] == 0
    enough.close()


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory, publish_folder: Any) -> Any:
    """Some KB of parquet that are 20 MB as an Arrow file: values of dictionaries."""
    source = tmp_path_factory.mktemp("folded")
    table = pa.table({"t": [chr(97 + row // 500) * 10_000 for row in range(2000)]})
    pq.write_table(table, source / "a.parquet", compression="zstd", row_group_size=500)
    assert (source / "a.parquet").stat().st_size < 100_000
    return publish_folder(source, leaf_size=16384)


def test_rows_that_have_no_room_are_read_without_being_kept(
    folded: Any, serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    budget = 6 * MB
    dataset = StreamingDataset(
        folded.uri, sources=[serve(folded.folder).url], cache=tmp_path, cache_bytes=budget, decoded_cache=True
    )
    for _ in range(2):
        most = 0
        for sample in dataset:
            assert len(sample["t"]) == 10_000
            most = max(most, lying(tmp_path))
        assert most <= budget + MARKS
    view = dataset._access._view
    assert view is not None
    view._opener._pool.shutdown(wait=True)
    assert [path for path in (tmp_path / "decoded").glob("*") if path.suffix != ".marks"] == []
    assert any("are not kept: there is no room" in text for text in caplog.messages)
    dataset.close()


def test_rows_kept_under_a_larger_budget_are_not_held_under_a_smaller_one(
    folded: Any, serve: Serve, tmp_path: Path
) -> None:
    options = {"sources": [serve(folded.folder).url], "cache": tmp_path, "decoded_cache": True}
    large = StreamingDataset(folded.uri, **options)
    list(large)
    view = large._access._view
    assert view is not None
    view._opener._pool.shutdown(wait=True)
    large.close()
    assert lying(tmp_path) > 15 * MB
    small = StreamingDataset(folded.uri, cache_bytes=6 * MB, **options)
    assert sum(1 for _ in small) == 2000
    small.close()
    assert lying(tmp_path) <= 6 * MB + MARKS


class Opened:
    """A reader of so many bytes."""

    def __init__(self, number: int, size: int, log: list[str]) -> None:
        self.number, self.held_bytes, self._log = number, size, log
        log.append(f"open {number}")

    def close(self) -> None:
        self._log.append(f"close {self.number}")


def test_the_oldest_is_closed_before_another_takes_its_room() -> None:
    log: list[str] = []
    sizes = {1: 40, 2: 40, 3: 70, 4: 500}
    readers = OpenReaders(lambda n: Opened(n, sizes[n], log), sizes.__getitem__, 8, 100, 10)  # type: ignore[arg-type, return-value]
    for number in (1, 2, 1, 3, 4):
        readers(number)
        assert readers.held_bytes <= 100 or number == 4, "one may always be open"
    assert log == ["open 1", "open 2", "close 2", "close 1", "open 3", "close 3", "open 4"]
    assert readers.ahead == 1
    readers.close()
    assert readers.held_bytes == 0


def test_what_cannot_be_opened_is_tried_once_a_pass() -> None:
    tries: list[int] = []

    def refuse(number: int) -> Any:
        tries.append(number)
        raise SampleError("no footer", hint="none")

    readers = OpenReaders(refuse, lambda n: 10, 8, 100, 10)
    for _ in range(5):
        with pytest.raises(SampleError, match="no footer"):
            readers(7)
    assert tries == [7]
    readers.begin()
    with pytest.raises(SampleError):
        readers(7)
    assert tries == [7, 7]


def test_a_file_that_grows_beyond_the_budget_is_given_up_while_it_is_written(tmp_path: Path) -> None:
    files = DecodedFiles(ShardCache(tmp_path, 3 * MB), 1, distrust=False)
    asked: list[int] = []

    def endless() -> Iterator[bytes]:
        while True:
            asked.append(lying(tmp_path))
            yield bytes(MB)

    with pytest.raises(QuotaError, match="no room"):
        files.make("a", 10, endless, needed=False)
    assert len(asked) == 4
    assert max(asked) <= 3 * MB + 8192
    assert not (tmp_path / "decoded" / "a").exists()
    with pytest.raises(QuotaError, match="no room"):
        files.make("b", 1 << 60, lambda: pytest.fail("room is looked for first"), needed=False)
    file = files.make("c", 10, lambda: [b"0123", bytes(MB)], needed=False)
    assert (file.size, bytes(file.view(0, 5))) == (MB + 4, b"0123\0")
    file.close()
    with pytest.raises(RuntimeError, match="closed"):
        file.view(0, 1)


def test_two_that_write_at_once_are_not_given_the_same_room(tmp_path: Path) -> None:
    files = DecodedFiles(ShardCache(tmp_path, 3 * MB), 1, distrust=False)
    both = threading.Barrier(2, timeout=20)

    def parts() -> Iterator[bytes]:
        both.wait()  # both have begun, and have the room that they asked for
        yield bytes(MB)
        both.wait()
        yield bytes(MB)

    def make(name: str) -> DecodedFile | None:
        try:
            return files.make(name, MB, parts, needed=False)
        except QuotaError:
            return None

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(make, ["a", "b"]))
    assert sum(file.size for file in made if file) == 2 * MB, "one of them was refused"
    files.close()

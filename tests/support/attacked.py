"""What the attacked process does besides fetching: called by name through `Victim.call`."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.loaders.errors import SampleError
from holdfast.loaders.readers import bounds
from holdfast.loaders.readers.arrow import ArrowReader
from holdfast.loaders.readers.decoded import DecodedRows
from holdfast.loaders.readers.jsonl import JsonlReader
from holdfast.loaders.readers.parquet import ParquetReader
from holdfast.loaders.readers.reader import Reader
from holdfast.loaders.readers.tar import TarReader
from holdfast.pipeline.publish import publish
from holdfast.storage.cid import CID, RAW
from holdfast.storage.dag.layout import FileLayout
from holdfast.storage.errors import HoldfastError
from holdfast.storage.manifest import Shard
from holdfast.storage.shards.arrow import batch_table


def publish_folder(source: str, repo: str) -> dict[str, object]:
    """Publish; what was skipped, and why."""
    done = publish(Path(source), name="x", repo=Path(repo), leaf_size=16384)
    return {"samples": done.samples, "skipped": [list(one) for one in done.skipped]}


class _Bytes:
    """A `ShardFile` in memory."""

    def __init__(self, data: bytes) -> None:
        self.layout = FileLayout(CID.of(RAW, data), len(data), 1 << 20, bytes(32 * max(-(-len(data) >> 20), 1)))
        self._data = data

    def prefetch(self, start: int, end: int, urgency: float) -> int:
        return 0

    def read(self, start: int, end: int) -> memoryview:
        return memoryview(self._data)[start:end]

    def copy(self, start: int, end: int) -> bytes:
        return self._data[start:end]


def read_rows(path: str, kind: str, rows: int, limit: int) -> dict[str, int]:
    """Open a shard that lies, and read its first and last row, under a limit of so many bytes for a row group."""
    bounds.MAX_GROUP_BYTES, before = limit, bounds.MAX_GROUP_BYTES
    try:
        data = Path(path).read_bytes()
        shard = Shard(path="data/x", cid=str(CID.of(RAW, b"")), bytes=len(data), samples=rows, first_sample=0)
        file: Any = _Bytes(data)
        if kind == "arrow":
            index = batch_table(lambda start, end: data[start:end], len(data)).encode()
            reader: Reader = ArrowReader(shard, file, index, DecodedRows(1 << 20))
        else:
            reader = ParquetReader(shard, file, DecodedRows(1 << 20))
        return {key: len(value) for row in (0, rows - 1) for key, value in reader.sample(row).items() if value}
    finally:
        bounds.MAX_GROUP_BYTES = before


def read_open_arrow_shards(folder: str, rows: int) -> dict[str, int]:
    """Read the first row of each shard of a folder, and keep all of them open."""
    held, readers, found = DecodedRows(1 << 20), [], 0
    for path in sorted(each for each in Path(folder).iterdir() if each.is_file()):
        data = path.read_bytes()
        shard = Shard(path=path.name, cid=str(CID.of(RAW, b"")), bytes=len(data), samples=rows, first_sample=0)
        index, file = batch_table(lambda start, end, data=data: data[start:end], len(data)).encode(), _Bytes(data)  # type: ignore[misc]
        readers.append(ArrowReader(shard, file, index, held))  # type: ignore[arg-type]
        found += len(readers[-1].sample(0)["n"])
    return {"shards": len(readers), "bytes": found}


class _Sparse:
    """What a shard holds decompressed, of zeros alone: a file that takes no memory until it is copied."""

    def prefetch(self, start: int, end: int, urgency: float) -> int:
        return 0

    def read(self, start: int, end: int) -> memoryview:
        return memoryview(self.copy(start, end))

    def copy(self, start: int, end: int) -> bytes:
        return b"x" * (end - start)

    def close(self) -> None:
        pass


def read_long_sample(kind: str, size: int) -> None:
    """A sample of so many bytes, without an end of line or a header of a tar."""
    shard = Shard(path="data/x", cid=str(CID.of(RAW, b"")), bytes=size, samples=1, first_sample=0)
    make = JsonlReader if kind == "jsonl" else TarReader
    make(shard, _Sparse(), np.array([0, size], dtype=np.uint64)).sample(0)


def read_damaged_parquet(path: str, rows: int, tries: int, seed: int) -> dict[str, int]:
    """Read a parquet file with some bytes of it changed, again and again; how it ended how often."""
    return _read_damaged(path, rows, tries, seed, lambda shard, file: ParquetReader(shard, file, DecodedRows(1 << 20)))


def read_damaged_arrow(path: str, rows: int, tries: int, seed: int) -> dict[str, int]:
    """The same of an Arrow file, by the index of the whole one."""
    data = Path(path).read_bytes()
    index = batch_table(lambda start, end: data[start:end], len(data)).encode()
    make = lambda shard, file: ArrowReader(shard, file, index, DecodedRows(1 << 20))
    return _read_damaged(path, rows, tries, seed, make)


def _read_damaged(path: str, rows: int, tries: int, seed: int, make: Callable[[Shard, Any], Reader]) -> dict[str, int]:
    right, rng, found = Path(path).read_bytes(), random.Random(seed), {"read": 0, "refused": 0}
    cid = str(CID.of(RAW, right))
    for _ in range(tries):
        data = bytearray(right)
        for _ in range(rng.randrange(1, 4)):
            tail = rng.random() < 0.7  # most of what can be said wrongly is in the footer
            at = rng.randrange(len(data) - 800, len(data)) if tail else rng.randrange(len(data))
            data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, data[at] ^ 1 << rng.randrange(8)])
        shard = Shard(path="data/x", cid=cid, bytes=len(data), samples=rows, first_sample=0, partition="default")
        try:
            reader = make(shard, _Bytes(bytes(data)))
            for row in range(rows):
                reader.sample(row)
            found["read"] += 1
        except (SampleError, HoldfastError):
            found["refused"] += 1
    return found

"""Parsers of what loaders read: shards, the indices of their samples, and what a fetcher says."""

from __future__ import annotations

import io
import os
import socket
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from fuzz import seeds
from fuzz.target import target
from holdfast.loaders.errors import SampleError
from holdfast.loaders.fetcher.wire import HungUpError, Line, raise_error
from holdfast.loaders.readers.jsonl import JsonlReader
from holdfast.loaders.readers.offsets import offsets_of
from holdfast.loaders.readers.tar import TarReader
from holdfast.pipeline.streams import describe_jsonl_stream, describe_tar_stream
from holdfast.pipeline.tars import describe_members
from holdfast.storage.blocks.stamp import Stamp
from holdfast.storage.errors import FormatError, HoldfastError
from holdfast.storage.manifest import Shard
from holdfast.storage.shards.arrow import BatchTable, batch_table, blocks, decompressed_bytes
from holdfast.storage.shards.parquet import read_pages
from holdfast.storage.shards.zstd import pieces

STAMP = Stamp(0, 0, 0, 0)


def _shard(size: int, samples: int) -> Shard:
    return Shard(path="data/x", cid=str(seeds.EXAMPLE_CID), bytes=size, samples=samples, first_sample=0)


# -- Arrow


def _arrow() -> list[bytes]:
    table = pa.table({"n": range(20), "t": [f"text {n}" for n in range(20)], "d": pa.array(["a"] * 20)})
    found = []
    for compression in (None, "zstd"):
        out = io.BytesIO()
        with pa.ipc.new_file(out, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
            writer.write_table(table, max_chunksize=8)
        found.append(out.getvalue())
    return found


@target(_arrow)
def arrow_batches(data: bytes) -> object:
    read = lambda start, end: data[start:end]
    found = batch_table(read, len(data))
    assert found.encode() == BatchTable.decode(found.encode(), int(found.first_rows[-1]), len(data)).encode()
    dictionaries, batches = blocks(read, len(data))
    return [decompressed_bytes(read, block) for block in dictionaries + batches]


@target(lambda: [batch_table(lambda start, end, data=data: data[start:end], len(data)).encode() for data in _arrow()])  # type: ignore[misc]
def arrow_index(data: bytes) -> object:
    table = BatchTable.decode(data, 20, 5000)
    assert table.encode() == data
    return table


# -- parquet


def _chunks() -> list[bytes]:
    found = []
    for version in ("1.0", "2.0"):
        out = io.BytesIO()
        pq.write_table(pa.table({"t": [f"text {n % 7}" for n in range(50)]}), out, data_page_version=version)
        column = pq.ParquetFile(out).metadata.row_group(0).column(0)
        found.append(out.getvalue()[4 : 4 + column.total_compressed_size])
    return found


@target(_chunks)
def parquet_pages(data: bytes) -> object:
    pages = read_pages(memoryview(data), 50)
    assert pages.values >= 50
    assert 0 <= pages.longest <= pages.bytes
    return pages


# -- zstd, tars and lines, and the indices of both


def _lines() -> bytes:
    return b'{"a": 1}\nnot json\n{"b": [2, {"c": null}]}\n'


def _streams() -> list[bytes]:
    text = zstandard.compress(_lines())
    skippable = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    return [text, zstandard.compress(seeds.tars()[0]), text + skippable + text]


@target(_streams)
def zstd_pieces(data: bytes) -> object:
    found = b"".join(map(bytes, pieces(memoryview(data), 40)))
    assert len(found) == 40
    return found


@target(_streams, (HoldfastError, OSError))
def zstd_shards(data: bytes) -> object:
    """A tar or lines: one of them is described, or none."""
    fd = os.memfd_create("shard")
    try:
        os.write(fd, data)
        for describe in (describe_tar_stream, describe_jsonl_stream):
            os.lseek(fd, 0, os.SEEK_SET)
            try:
                facts = describe(fd, STAMP, "x")
            except HoldfastError:
                continue
            assert facts.index is not None
            offsets_of(_shard(len(data), facts.samples), facts.index, None)
    finally:
        os.close(fd)
    return None


@target(seeds.tars)
def tar_index(data: bytes) -> object:
    facts = describe_members(lambda start, end: data[start:end], len(data), STAMP, "x")
    assert facts.index is not None
    return offsets_of(_shard(len(data), facts.samples), facts.index, len(data))


class _Memory:
    """A shard in memory, and what is behind its end: nothing."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def prefetch(self, start: int, end: int, urgency: float) -> int:
        return 0

    def read(self, start: int, end: int) -> memoryview:
        assert start <= end <= len(self.data)
        return memoryview(self.data)[start:end]

    def copy(self, start: int, end: int) -> bytes:
        return self.read(start, end).tobytes()

    def close(self) -> None:
        pass


def _indexed() -> list[bytes]:
    """Two samples: three offsets, and the shard."""
    return [struct.pack("<3Q", 0, len(data) // 2, len(data)) + data for data in (_lines(), seeds.tars()[0])]


@target(_indexed)
def indexed_samples(data: bytes) -> object:
    """Whatever the offsets say, no byte outside of the shard is asked for."""
    index, shard = data[:24], data[24:]
    offsets = offsets_of(_shard(len(shard), 2), index, len(shard))
    assert np.all(np.diff(offsets.astype(np.int64)) >= 0)
    done: list[Any] = []
    for make in (JsonlReader, TarReader):
        reader = make(_shard(len(shard), 2), _Memory(shard), offsets)
        for number in range(2):
            try:
                done.append(reader.sample(number))
            except (SampleError, FormatError):
                continue
    return done


# -- a fetcher and its clients


def _message(words: bytes, payload: bytes = b"") -> bytes:
    return struct.pack("<II", len(words), len(payload)) + words + payload


_SAID = (b'{"error":"StoreError","message":"m","hint":"h"}', b""), (b'{"file":1}', b"abc"), (b"[" * 50_000, b"")


@target(lambda: [_message(*said) for said in _SAID], (HoldfastError, HungUpError))
def fetcher_message(data: bytes) -> object:
    here, there = socket.socketpair()
    there.settimeout(5)
    line = Line(here)
    try:
        there.sendall(data)
        there.shutdown(socket.SHUT_WR)
        words, payload = line.receive()
        raise_error(words)
        return words, payload
    finally:
        line.close()
        there.close()

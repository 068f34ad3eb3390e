"""What the buffers of an Arrow IPC file say that they become: added up before any of them is decompressed."""

from __future__ import annotations

import io
import struct

import pyarrow as pa
import pytest

from holdfast.storage.errors import FormatError
from holdfast.storage.shards.arrow import Block, blocks, decompressed_bytes


def written(compression: str | None) -> bytes:
    table = pa.table({"n": range(4000), "d": pa.array(["text " * 50] * 4000).dictionary_encode()})
    out = io.BytesIO()
    with pa.ipc.new_file(out, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=1000)
    return out.getvalue()


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_compressed_messages_say_what_they_become(compression: str) -> None:
    data = written(compression)
    read = lambda start, end: data[start:end]
    dictionaries, batches = blocks(read, len(data))
    assert (len(dictionaries), len(batches)) == (1, 4)
    assert all(block.start < block.body <= block.end <= len(data) for block in batches)
    assert 250 <= decompressed_bytes(read, dictionaries[0]) <= 350
    for block in batches:
        assert 1000 * 12 <= decompressed_bytes(read, block) <= 1000 * 12 + 200


def test_what_is_not_compressed_becomes_nothing_more() -> None:
    data = written(None)
    read = lambda start, end: data[start:end]
    dictionaries, batches = blocks(read, len(data))
    assert [decompressed_bytes(read, block) for block in dictionaries + batches] == [0] * 5


def test_a_message_that_is_none_is_refused() -> None:
    data = written("zstd")
    block = blocks(lambda start, end: data[start:end], len(data))[1][0]
    for bad in (bytes(len(data)), b"\xff" * len(data)):
        with pytest.raises(FormatError):
            decompressed_bytes(lambda start, end, bad=bad: bad[start:end], block)  # type: ignore[misc]
    with pytest.raises(FormatError, match="leaves it"):
        decompressed_bytes(lambda start, end: data[start:end], Block(block.start, block.body, block.body + 8))


def entry(block: Block) -> bytes:
    """As a footer names it."""
    return struct.pack("<qi4xq", block.start, block.body - block.start, block.end - block.body)


@pytest.mark.parametrize(("victim", "named"), [(0, 1), (1, 2), (2, 1), (4, 3)])
def test_messages_that_a_footer_names_twice_are_refused(victim: int, named: int) -> None:
    """A footer of 64 MiB could name 2.8 million times the same 16 MiB."""
    data = written("zstd")
    found = [block for each in blocks(lambda start, end: data[start:end], len(data)) for block in each]
    assert data.count(entry(found[victim])) == 1
    bad = data.replace(entry(found[victim]), entry(found[named]))
    with pytest.raises(FormatError, match="overlap"):
        blocks(lambda start, end: bad[start:end], len(bad))


@pytest.mark.parametrize("start", [-8, 1 << 40, (1 << 63) - 1, -1 << 63])
def test_messages_elsewhere_are_refused(start: int) -> None:
    data = written("zstd")
    block = blocks(lambda start, end: data[start:end], len(data))[1][3]
    length = block.end - block.start
    at_end = Block(len(data) - length, len(data) - length + block.body - block.start, len(data))
    for other in (Block(start, start + block.body - block.start, start + length), at_end):
        bad = data.replace(entry(block), entry(other))
        with pytest.raises(FormatError, match="leaves the file"):
            blocks(lambda start, end, bad=bad: bad[start:end], len(bad))  # type: ignore[misc]

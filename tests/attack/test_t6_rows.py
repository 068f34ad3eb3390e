"""T6: shards of some KB whose rows become large. Refused, or read without making them large, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast.loaders.readers.bounds import check_groups
from holdfast.storage.shards.parquet import read_pages
from support.victim import Outcome, Victim

LIMIT = 32 << 20  # of a row group, in these tests
PEAK_BYTES = LIMIT + (64 << 20)
BOMB_BYTES = 128 << 20
ZEROS = bytes(1 << 20)


def arrow(path: Path, table: pa.Table, compression: str | None = "zstd") -> None:
    with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)


def compressed_buffer(path: Path) -> None:
    arrow(path, pa.table({"n": np.zeros(BOMB_BYTES, dtype=np.int8)}))


def compressed_dictionary(path: Path) -> None:
    values = pa.array([bytes(BOMB_BYTES)], pa.large_binary())
    arrow(path, pa.table({"n": pa.DictionaryArray.from_arrays(pa.array([0, 0], pa.int8()), values)}))


def lying_buffer(path: Path) -> None:
    """A buffer that says that it will be 2^40 bytes."""
    arrow(path, pa.table({"n": np.zeros(5000, dtype=np.int64)}))
    data = path.read_bytes()
    said = (40_000).to_bytes(8, "little") + b"\x28\xb5\x2f\xfd"
    assert data.count(said) == 1
    path.write_bytes(data.replace(said, (1 << 40).to_bytes(8, "little") + said[8:]))


def list_of_nulls(path: Path) -> None:
    arrow(path, pa.table({"n": pa.ListArray.from_arrays([0, BOMB_BYTES // 4], pa.nulls(BOMB_BYTES // 4))}))


def list_of_empty_records(path: Path) -> None:
    records = pa.StructArray.from_buffers(pa.struct([]), BOMB_BYTES // 8, [None], null_count=0)
    arrow(path, pa.table({"n": pa.ListArray.from_arrays([0, BOMB_BYTES // 8], records)}))


def list_of_one_long_value(path: Path) -> None:
    values = pa.DictionaryArray.from_arrays(pa.array(bytes(512), pa.int8()), pa.array(["x" * (1 << 20)]))
    arrow(path, pa.table({"n": pa.ListArray.from_arrays([0, 512], values)}))


def views_of_one_list(path: Path) -> None:
    inner = pa.ListViewArray.from_arrays([0] * 4096, [4096] * 4096, pa.array(bytes(4096), pa.int8()))
    arrow(path, pa.table({"n": pa.ListViewArray.from_arrays([0], [4096], inner)}), None)


def lying_footer(path: Path) -> None:
    """64 MB in a page, and a footer that says it is a byte."""
    pq.write_table(pa.table({"n": [ZEROS] * 64}), path, compression="zstd", use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    data, said = path.read_bytes(), varint(column.total_uncompressed_size)
    at = data.rindex(said)  # of the row group, and before it of the column
    at = data.rindex(said, 0, at)
    small = bytes([2 | 0x80, *[0x80] * (len(said) - 2), 0])
    path.write_bytes(data[:at] + small + data[at + len(said) :])
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).total_uncompressed_size == 1


def size_said_twice(path: Path) -> None:
    """64 MB in a page, whose header says so, and then as an i64 that it is a byte: Arrow passes over that one."""
    rows = ["x" * 4000] * 16384
    pq.write_table(pa.table({"n": rows}), path, compression="zstd", use_dictionary=False, data_page_size=1 << 30)
    column, data = pq.ParquetFile(path).metadata.row_group(0).column(0), path.read_bytes()
    pages = read_pages(memoryview(data)[4 : 4 + column.total_compressed_size], column.num_values)
    length = column.total_uncompressed_size - pages.bytes
    inner = b"\x15" + varint(pages.values) + b"\x15\x00\x15\x06\x15\x06\x00"
    sizes = b"\x15" + varint(pages.bytes) + b"\x15" + varint(column.total_compressed_size - length)
    header = b"\x15\x00" + sizes + b"\x06\x04\x02" + b"\x0c\x0a" + inner
    room = length - len(header) - 4  # of the statistics, which are left out
    header += b"\x18" + bytes([room & 0x7F | 0x80, room >> 7]) + bytes(room) + b"\x00"
    path.write_bytes(data[:4] + header + data[4 + length :])


def varint(number: int) -> bytes:
    """Of a signed number, in thrift's compact protocol."""
    number, found = 2 * number, []
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def huge_footer(path: Path) -> None:
    """One that would be all of a large file."""
    pq.write_table(pa.table({"n": [1]}), path)
    with path.open("ab") as file:
        file.truncate(path.stat().st_size + (80 << 20))
        file.seek(0, 2)
        file.write((79 << 20).to_bytes(4, "little") + b"PAR1")


LONG = pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array(["x" * (1 << 19)]))


def folded(path: Path, values: pa.Array) -> None:
    """Parquet with a dictionary of one value; nothing in it says that it was one in Arrow."""
    pq.write_table(pa.table({"n": values}), path, compression="zstd", store_schema=False, write_statistics=False)


def list_of_a_dictionary(path: Path) -> None:
    folded(path, pa.ListArray.from_arrays([0, 512], LONG.take(pa.array(bytes(512), pa.int8()))))


def shared_prefixes(path: Path) -> None:
    values = ["x" * (1 << 20) + str(number) for number in range(64)]
    pq.write_table(
        pa.table({"n": values}), path, compression="zstd", use_dictionary=False,
        column_encoding={"n": "DELTA_BYTE_ARRAY"}, write_statistics=False,
    )  # fmt: skip


def shared_prefixes_in_a_list(path: Path) -> None:
    values = [["x" * (1 << 20) + str(number) for number in range(64)]]
    pq.write_table(
        pa.table({"n": values}), path, compression="zstd", use_dictionary=False,
        column_encoding={"n.list.element": "DELTA_BYTE_ARRAY"}, write_statistics=False,
    )  # fmt: skip


def many_nulls(path: Path) -> None:
    pq.write_table(pa.table({"n": pa.nulls(BOMB_BYTES // 8, pa.int64())}), path, row_group_size=BOMB_BYTES)


ROWS: dict[Callable[[Path], None], int] = {
    compressed_buffer: BOMB_BYTES, compressed_dictionary: 2, lying_buffer: 5000, list_of_nulls: 1,
    list_of_empty_records: 1, list_of_one_long_value: 1, views_of_one_list: 1,
    lying_footer: 64, huge_footer: 1, list_of_a_dictionary: 1, shared_prefixes: 64, shared_prefixes_in_a_list: 1,
    many_nulls: BOMB_BYTES // 8, size_said_twice: 16384,
}  # fmt: skip
ARROW = list(ROWS)[:7]


def attack(victim: Victim, path: Path, bomb: Callable[[Path], None], rows: int) -> Outcome:
    bomb(path)
    kind = "arrow" if bomb in ARROW else "parquet"
    return victim.call("read_rows", path=str(path), kind=kind, rows=rows, limit=LIMIT)


@pytest.mark.parametrize("bomb", ROWS, ids=lambda bomb: bomb.__name__)
def test_a_shard_whose_rows_become_large_is_refused(
    victim: Victim, tmp_path: Path, bomb: Callable[[Path], None]
) -> None:
    outcome = attack(victim, tmp_path / "x", bomb, ROWS[bomb])
    assert (outcome.error, outcome.message.partition(":")[0]) == ("SampleError", "data/x"), outcome
    assert outcome.peak_bytes < PEAK_BYTES + (80 << 20) * (bomb is huge_footer)  # the file itself is in memory here
    assert outcome.seconds < 10


def one_long_value(path: Path) -> None:
    folded(path, LONG.take(pa.array(bytes(8192), pa.int8())))


def test_a_long_value_of_a_dictionary_is_not_repeated_in_memory(victim: Victim, tmp_path: Path) -> None:
    """4 GB of rows, of which nobody needs more than one at a time."""
    outcome = attack(victim, tmp_path / "x", one_long_value, 8192)
    assert outcome.error == "", outcome
    assert outcome.value["n"] == 1 << 19
    assert outcome.peak_bytes < PEAK_BYTES


def test_dictionaries_of_open_shards_do_not_add_up(victim: Victim, tmp_path: Path) -> None:
    for number in range(14):
        values = pa.array([bytes(16 << 20)], pa.large_binary())
        table = pa.table({"n": pa.DictionaryArray.from_arrays(pa.array([0, 0], pa.int8()), values), "m": [1, 2]})
        arrow(tmp_path / str(number), table)
    outcome = victim.call("read_open_arrow_shards", folder=str(tmp_path), rows=2)
    assert outcome.value == {"shards": 14, "bytes": 14 * (16 << 20)}, outcome
    assert outcome.peak_bytes < PEAK_BYTES


def test_sizes_are_added_up_until_they_are_too_large() -> None:
    with pytest.raises(ValueError, match="more than"):
        check_groups(repeat(1 << 20))


@pytest.mark.parametrize(("kind", "message"), [("jsonl", "a line of more than"), ("tar", "expected at most")])
def test_a_sample_as_large_as_the_cache_is_not_held_in_memory(victim: Victim, kind: str, message: str) -> None:
    outcome = victim.call("read_long_sample", kind=kind, size=50_000_000_000)
    assert outcome.error == "SampleError"
    assert outcome.message.startswith("data/x, sample 0: ")
    assert message in outcome.message
    assert outcome.peak_bytes < 3 * (64 << 20)

"""Headers of parquet pages: what they say is what the writer wrote, whatever page version and encoding it chose."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast.storage.errors import FormatError
from holdfast.storage.shards.parquet import Pages, read_pages

ROWS = 5000
TABLE = pa.table(
    {
        "n": range(ROWS),
        "t": [f"{'x' * (n % 50)}{n}" for n in range(ROWS)],
        "d": [f"kind {n % 9}" for n in range(ROWS)],
        "l": [[1, 2, 3]] * ROWS,
        "o": [None if n % 3 else 0.5 for n in range(ROWS)],
    }
)


def written(**options: Any) -> tuple[bytes, Any]:
    out = io.BytesIO()
    pq.write_table(TABLE, out, data_page_size=4096, **options)
    return out.getvalue(), pq.ParquetFile(out).metadata.row_group(0)


def chunk(data: bytes, group: Any, at: int) -> tuple[memoryview, Any]:
    column = group.column(at)
    start = column.data_page_offset
    if column.has_dictionary_page:
        start = min(start, column.dictionary_page_offset)
    return memoryview(data)[start : start + column.total_compressed_size], column


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "zstd", "snappy"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_pages_add_up_to_what_was_written(version: str, compression: str, dictionary: bool) -> None:
    encodings = None if dictionary else {"t": "DELTA_BYTE_ARRAY", "d": "DELTA_LENGTH_BYTE_ARRAY"}
    data, group = written(
        data_page_version=version, compression=compression, use_dictionary=dictionary, column_encoding=encodings
    )
    found: dict[str, Pages] = {}
    for at in range(group.num_columns):
        view, column = chunk(data, group, at)
        pages = found[column.path_in_schema] = read_pages(view, column.num_values)
        assert pages.values == column.num_values
        headers = column.total_uncompressed_size - pages.bytes
        assert 0 < headers < 100 * (pages.bytes // 2000 + 2)
        assert 0 < pages.longest <= pages.bytes
    assert (found["d"].dictionary > 0) == dictionary
    assert [name for name, pages in found.items() if pages.prefixed] == ([] if dictionary else ["t"])


def test_a_page_that_leaves_its_chunk_is_refused() -> None:
    data, group = written()
    view, column = chunk(data, group, 1)
    for end in range(0, len(view), 97):
        with pytest.raises(FormatError):
            read_pages(view[:end], column.num_values)
    with pytest.raises(FormatError, match="leaves"):
        read_pages(view, column.num_values + 1)


@pytest.mark.parametrize("head", [b"\x1c" * 40, b"\x19\xfc" + b"\xff" * 9, b"\x15" + b"\xff" * 30, b"\x18\xff\xff\x7f"])
def test_headers_of_nests_and_endless_numbers_are_refused(head: bytes) -> None:
    with pytest.raises(FormatError, match="page"):
        read_pages(memoryview(head), 1)


SIZE, WIDE, SIXTEEN_BITS_ON = b"\x05\x04\x20", b"\x06\x04\x02", b"\x05\x84\x80\x08\x02"
INNER = b"\x0c\x0a\x15\x02\x15\x00\x00"  # one value, plain


def page(*fields: bytes) -> memoryview:
    return memoryview(b"".join((b"\x05\x02\x00", b"\x05\x06\x20", *fields, b"\x00", bytes(16))))


def test_a_header_of_16_bytes() -> None:
    assert read_pages(page(SIZE, INNER), 1) == Pages(1, 16, 16, 0, False)


@pytest.mark.parametrize(
    "fields",
    [
        (SIZE, SIZE, INNER),
        (SIZE, WIDE, INNER),  # Arrow passes over it
        (WIDE, SIZE, INNER),
        (WIDE, INNER),
        (SIZE, SIXTEEN_BITS_ON, INNER),  # 65538, to Arrow 2
        (SIZE, b"\x05\x00\x02", INNER),
        (SIZE, b"\x05\x03\x02", INNER),
        (SIZE, INNER, INNER),
        (SIZE, b"\x0c\x0a\x16\x02\x15\x00\x00"),
        (SIZE, b"\x0c\x0a\x15\x02\x05\x02\x02\x15\x00\x00"),
        (b"\x05\x04\x80\x80\x80\x80\x20", INNER),  # 2^32: to Arrow 0
        (SIZE, b"\x0c\x0a\x15\x82\x80\x80\x80\x20\x15\x00\x00"),  # 2^32 + 1 values
    ],
)
def test_a_header_that_arrow_would_read_otherwise_is_refused(fields: tuple[bytes, ...]) -> None:
    with pytest.raises(FormatError, match="a page header has"):
        read_pages(page(*fields), 1)


def test_a_page_that_is_not_compressed_has_the_size_that_it_takes() -> None:
    assert read_pages(page(b"\x05\x04\x02", INNER), 1) == Pages(1, 16, 16, 0, False)

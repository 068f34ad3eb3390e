"""CARv1: what is written is read; what was cut, flipped or blown up is noticed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.storage.blocks.block import Block
from holdfast.storage.cid import CID, DAG_PB, IDENTITY, RAW
from holdfast.storage.dag import carv2
from holdfast.storage.dag.car import CarReader, encode_header, encode_section, read_header, section_head
from holdfast.storage.errors import FormatError, HashMismatchError, UnsupportedError
from holdfast.storage.limits import MAX_BLOCK_BYTES, MAX_CAR_HEADER_BYTES, MAX_CAR_SECTION_BYTES
from holdfast.storage.varint import uvarint

from .blocks import leaf

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "cars.json").read_text())["vectors"]
FILES = {vector["file"]: bytes.fromhex(vector["hex"]) for vector in VECTORS}
BLOCKS = [leaf(b"hello"), Block.encode(DAG_PB, b"\x0a\x00"), leaf(b"")]
ROOTS = (BLOCKS[1].cid, CID(0, DAG_PB, BLOCKS[1].cid.multihash))
HEADER = encode_header(ROOTS)
CAR = HEADER + b"".join(encode_section(block.cid, block.data) for block in BLOCKS)


class Dripping(io.BytesIO):
    """A stream that returns one byte at a time and counts what it was asked for."""

    largest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.largest = max(self.largest, size or 0)
        return super().read(1 if size else 0)


def read(data: bytes) -> tuple[tuple[CID, ...], list[Block]]:
    reader = CarReader(io.BytesIO(data))
    return reader.roots, list(reader)


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(0, 30))
def test_blocks_and_roots_come_back_at_the_offsets_given(contents: list[bytes], roots: int) -> None:
    blocks = [leaf(data) for data in contents]
    named = tuple(block.cid for block in blocks[:roots])
    car = encode_header(named) + b"".join(encode_section(block.cid, block.data) for block in blocks)
    assert read(car) == (named, blocks)
    sections = list(CarReader(Dripping(car)).sections())
    assert [section.block for section in sections] == blocks
    for section in sections:
        assert car[section.data_offset :].startswith(section.block.data)
    assert read_header(io.BytesIO(car)) == named


@given(st.binary(max_size=80))
def test_arbitrary_bytes_raise_only_format_errors(data: bytes) -> None:
    for car in (data, HEADER + data, uvarint(len(data)) + data):
        try:
            read(car)
        except (FormatError, HashMismatchError):
            pass


def test_a_cut_car_names_the_byte_where_it_ends() -> None:
    ends = [len(HEADER)]
    for block in BLOCKS:
        ends.append(ends[-1] + len(encode_section(block.cid, block.data)))
    for cut in range(len(CAR)):
        if cut in ends:  # a valid CAR with fewer blocks: only its reader's caller knows what is missing
            assert read(CAR[:cut]) == (ROOTS, BLOCKS[: ends.index(cut)])
            continue
        with pytest.raises(FormatError, match=f"ends at byte {cut}\\b"):
            read(CAR[:cut])


def test_one_flipped_bit_anywhere_is_noticed() -> None:
    """An error, or other roots or CIDs than those asked for; never other bytes under the same CID."""
    expected = ROOTS, [block.cid for block in BLOCKS]
    for bit in range(8 * len(CAR)):
        data = bytearray(CAR)
        data[bit // 8] ^= 1 << bit % 8
        try:
            roots, blocks = read(bytes(data))
        except (FormatError, HashMismatchError):
            continue
        assert (roots, [block.cid for block in blocks]) != expected, bit
        assert all(block.cid.matches(block.data) for block in blocks)


def test_wrong_bytes_are_an_integrity_error_that_names_the_offset() -> None:
    car = HEADER + encode_section(BLOCKS[0].cid, b"hellO")
    reader = iter(CarReader(io.BytesIO(car)))
    with pytest.raises(HashMismatchError, match=f"at byte {len(HEADER)}:"):
        next(reader)


@pytest.mark.parametrize("name", ["sample-rw-bs-v2.car", "sample-unixfs-v2.car"])
def test_published_carv2_files_are_read_as_the_carv1_inside(name: str) -> None:
    data = FILES[name]
    start, size = (int.from_bytes(data[at : at + 8], "little") for at in (27, 35))
    roots, blocks = read(data[start : start + size])
    assert roots
    assert len(blocks) == 3
    for stream in (io.BytesIO(data), Dripping(data), io.BytesIO(data[: start + size])):  # the index is not needed
        reader = CarReader(stream)
        sections = list(reader.sections())
        assert (reader.roots, [section.block for section in sections]) == (roots, blocks)
        assert all(data[section.data_offset :].startswith(section.block.data) for section in sections)
        again = encode_header(roots) + b"".join(encode_section(block.cid, block.data) for block in blocks)
        assert again == data[start : start + size]


@pytest.mark.parametrize("name", ["sample-rw-bs-v2.car", "sample-unixfs-v2.car"])
def test_the_index_that_we_write_is_the_one_of_go_car(name: str) -> None:
    data = FILES[name]
    wrapper = carv2.decode_header(data[len(carv2.PRAGMA) : carv2.FIRST])
    index = carv2.IndexWriter()
    for section in CarReader(io.BytesIO(data)).sections():
        cid, size = section.block.cid, len(section.block.data)
        index.add(cid, section.data_offset - len(section_head(cid, size)) - wrapper.data_offset)
    assert index.encode() == data[wrapper.index_offset :]


def test_a_cut_carv2_names_the_byte_where_it_ends() -> None:
    data = FILES["sample-unixfs-v2.car"]
    end = carv2.decode_header(data[len(carv2.PRAGMA) : carv2.FIRST]).data_end
    for cut in range(end):
        with pytest.raises(FormatError, match=f"ends at byte {cut}\\b"):
            read(data[:cut])
    assert [read(data[:cut]) for cut in range(end, len(data))] == [read(data)] * (len(data) - end)


@pytest.mark.parametrize(
    ("start", "size", "index"),
    [
        (0, 0, 0),
        (50, 284, 0),
        (51, 0, 0),
        (51, 1 << 63, 0),
        (51, 284, 60),
        (51, 285, 0),
        (51, 283, 334),
        (1 << 62, 5, 0),
    ],
)
def test_a_carv2_header_that_lies_is_refused(start: int, size: int, index: int) -> None:
    data = FILES["sample-unixfs-v2.car"]
    places = b"".join(number.to_bytes(8, "little") for number in (start, size, index))
    stream = Dripping(carv2.PRAGMA + bytes(16) + places + data[carv2.FIRST : 51 + 284])
    with pytest.raises(FormatError):
        list(CarReader(stream))
    assert stream.largest <= 1 << 18


def test_a_carv2_inside_of_a_carv2_is_refused() -> None:
    data = FILES["sample-unixfs-v2.car"]
    with pytest.raises(FormatError, match="version 2"):
        read(carv2.encode_head(len(data)) + data)


@pytest.mark.parametrize("name", ["sample-corrupt-pragma.car", "badheaderlength.car", "badsectionlength.car"])
def test_published_malformed_files_are_refused(name: str) -> None:
    with pytest.raises(FormatError):
        read(FILES[name])


def test_other_versions_are_named() -> None:
    with pytest.raises(UnsupportedError, match="version 42"):
        read(FILES["sample-rootless-v42.car"])


@pytest.mark.parametrize(
    ("header", "limit"),
    [
        (uvarint(MAX_CAR_HEADER_BYTES + 1), 1),
        (HEADER + uvarint(MAX_CAR_SECTION_BYTES + 1), MAX_CAR_HEADER_BYTES),
    ],
)
def test_a_length_that_is_too_big_is_refused_before_anything_is_read(header: bytes, limit: int) -> None:
    stream = Dripping(header + bytes(10))
    with pytest.raises(FormatError, match="at most"):
        list(CarReader(stream))
    assert stream.largest <= limit


def test_a_section_of_zero_bytes_is_refused() -> None:
    for car in (b"\0", CAR + b"\0" + CAR[len(HEADER) :]):
        with pytest.raises(FormatError, match="empty"):
            read(car)


def test_padding_with_zeros_behind_the_last_section_is_skipped() -> None:
    for size in (1, 300_000):
        assert read(CAR + bytes(size)) == (ROOTS, BLOCKS)
        assert read(carv2.encode_head(len(CAR) + size) + CAR + bytes(size) + b"an index") == (ROOTS, BLOCKS)
        with pytest.raises(FormatError, match=f"at byte {len(CAR)} .* at byte {len(CAR) + size}$"):
            read(CAR + bytes(size) + b"\1")


def test_a_block_above_two_mebibytes_is_refused() -> None:
    block = leaf(bytes(MAX_BLOCK_BYTES))
    assert read(HEADER + encode_section(block.cid, block.data))[1] == [block]
    data = bytes(MAX_BLOCK_BYTES + 1)
    with pytest.raises(FormatError, match="more than"):
        read(HEADER + encode_section(CID.of(RAW, data), data))


def test_identity_sections_are_checked_and_skipped() -> None:
    cid = CID(1, RAW, bytes([IDENTITY, 2]) + b"hi")
    assert read(HEADER + encode_section(cid, b"hi") + CAR[len(HEADER) :]) == (ROOTS, BLOCKS)
    with pytest.raises(HashMismatchError):
        read(HEADER + encode_section(cid, b"ho"))


def test_a_hash_that_cannot_be_computed_is_never_a_block() -> None:
    with pytest.raises(UnsupportedError):
        read(HEADER + encode_section(CID(1, RAW, b"\x1f\x20" + bytes(32)), b"x"))


@pytest.mark.parametrize(
    "body",
    [
        "a1 6776657273696f6e 01",  # no roots
        "a1 65726f6f7473 80",  # no version
        "a2 65726f6f7473 80 6776657273696f6e 1801",  # a number that is not in its shortest form
        "a2 6776657273696f6e 01 65726f6f7473 80",  # keys out of order
        "a3 65726f6f7473 80 65726f6f7473 80 6776657273696f6e 01",  # a key twice
        "a3 65726f6f7473 80 6776657273696f6e 01 6869646461626c65 01",  # an unknown key
        "a2 65726f6f7473 80 6776657273696f6e 01 00",  # bytes behind
        "bf 65726f6f7473 80 6776657273696f6e 01 ff",  # indefinite length
        "a2 65726f6f7473 81 01 6776657273696f6e 01",  # a root that is not a link
        "a2 65726f6f7473 81 d82b 4100 6776657273696f6e 01",  # another tag
        "a2 65726f6f7473 81 d82a 40 6776657273696f6e 01",  # an empty link
        "a2 65726f6f7473 9bffffffffffffffff",  # as many roots as there are numbers
        "bbffffffffffffffff",
        "a2 7bffffffffffffffff 00",
        "80",
        "f6",
    ],
)
def test_headers_are_strict(body: str) -> None:
    data = bytes.fromhex(body)
    with pytest.raises(FormatError) as caught:
        read(uvarint(len(data)) + data)
    assert not isinstance(caught.value, UnsupportedError)

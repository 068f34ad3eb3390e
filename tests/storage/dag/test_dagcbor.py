"""dag-cbor: one value, one encoding; everything else is refused, within bounds."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.storage.cid import CID, DAG_CBOR, RAW
from holdfast.storage.dag.dagcbor import MAX_DEPTH, MAX_ITEMS, Value, decode, encode, links
from holdfast.storage.errors import FormatError
from holdfast.storage.limits import MAX_BLOCK_BYTES

VECTORS = Path(__file__).parents[2] / "vectors"
ACCEPTED = [v for v in json.loads((VECTORS / "codecs.json").read_text())["vectors"] if v["codec"] == "dag-cbor"]
REJECTED = json.loads((VECTORS / "codecs_rejected.json").read_text())["dag-cbor"]
LINK = CID.of(RAW, b"x")

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | st.binary(max_size=40).map(lambda data: CID.of(RAW, data)),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
)


@pytest.mark.parametrize("vector", ACCEPTED, ids=lambda vector: vector["name"])
def test_fixtures_of_others_survive_decoding_and_encoding(vector: dict[str, str]) -> None:
    data = bytes.fromhex(vector["hex"])
    again = encode(decode(data))
    assert str(CID.of(DAG_CBOR, again)) == vector["cid"]


@pytest.mark.parametrize("vector", REJECTED, ids=lambda vector: vector["name"])
def test_rejected_fixtures_of_others_are_rejected(vector: dict[str, str]) -> None:
    with pytest.raises(FormatError):
        decode(bytes.fromhex(vector["hex"]))


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("nothing", ""),
        ("number longer than needed: 1 byte", "1817"),
        ("number longer than needed: 2 bytes", "1900ff"),
        ("number longer than needed: 4 bytes", "1a0000ffff"),
        ("number longer than needed: 8 bytes", "1b00000000ffffffff"),
        ("negative longer than needed", "3800"),
        ("length longer than needed", "5801ff"),
        ("tag longer than needed", "d9002a4100"),
        ("number cut", "19ff"),
        ("bytes cut", "42ff"),
        ("text cut", "62ff"),
        ("list cut", "8201"),
        ("map cut", "a16161"),
        ("huge list", "9bffffffffffffffff"),
        ("huge map", "bbffffffffffffffff"),
        ("huge bytes", "5bffffffffffffffff"),
        ("indefinite bytes", "5f4101ff"),
        ("indefinite text", "7f6161ff"),
        ("indefinite list", "9f01ff"),
        ("indefinite map", "bf616101ff"),
        ("break", "ff"),
        ("reserved length", "1c"),
        ("half float", "f93c00"),
        ("single float", "fa3f800000"),
        ("NaN", "fb7ff8000000000000"),
        ("infinity", "fb7ff0000000000000"),
        ("negative infinity", "fbfff0000000000000"),
        ("float cut", "fb3ff0"),
        ("undefined", "f7"),
        ("simple value", "e0"),
        ("simple value in a byte", "f818"),
        ("false in a byte", "f814"),
        ("tag 0", "c06161"),
        ("tag 2: big number", "c24101"),
        ("tag 43", "d82b4100"),
        ("link that is text", "d82a6161"),
        ("link without prefix", "d82a" + encode(bytes(LINK)).hex()),
        ("link that is empty", "d82a40"),
        ("link with prefix alone", "d82a4100"),
        ("link with a byte behind", "d82a" + encode(b"\0" + bytes(LINK) + b"\0").hex()),
        ("key that is a number", "a10101"),
        ("key that is bytes", "a1416101"),
        ("keys twice", "a2616101616102"),
        ("keys out of order", "a2616201616102"),
        ("keys bytewise, not by length", "a262616101616202"),
        ("key that is not UTF-8", "a161ff01"),
        ("text that is not UTF-8", "62c328"),
        ("text with a surrogate", "63eda080"),
        ("a value behind", "0101"),
    ],
)
def test_every_departure_from_the_strict_form_is_refused(what: str, data: str) -> None:
    with pytest.raises(FormatError):
        decode(bytes.fromhex(data))


@given(values)
def test_decode_gives_back_what_was_encoded(value: Value) -> None:
    again = decode(encode(value))
    assert again == value
    assert encode(again) == encode(value)


@given(st.binary(max_size=60) | values.map(encode))
def test_whatever_is_accepted_is_the_only_encoding_of_its_value(data: bytes) -> None:
    try:
        value = decode(data)
    except FormatError:
        return
    assert encode(value) == data


@given(values, st.data())
def test_a_flipped_bit_is_refused_or_another_value(value: Value, data: st.DataObject) -> None:
    block = bytearray(encode(value))
    at = data.draw(st.integers(0, len(block) * 8 - 1))
    block[at // 8] ^= 1 << at % 8
    try:
        assert encode(decode(bytes(block))) == block
    except FormatError:
        pass


def test_nesting_is_bounded_without_reaching_pythons_limit() -> None:
    assert encode(decode(b"\x81" * MAX_DEPTH + b"\x01")) == b"\x81" * MAX_DEPTH + b"\x01"
    for bomb in (b"\x81" * (MAX_DEPTH + 1) + b"\x01", b"\x81" * 1_000_000, b"\xa1\x60" * 500_000):
        with pytest.raises(FormatError, match="within each other"):
            decode(bomb)
    deep: Value = 1
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(ValueError, match="within each other"):
        encode(deep)


def test_items_and_bytes_are_bounded() -> None:
    count = MAX_ITEMS - 1
    assert len(decode(b"\x9a" + count.to_bytes(4, "big") + b"\x80" * count)) == count  # type: ignore[arg-type]
    with pytest.raises(FormatError, match="more than"):
        decode(b"\x9a" + MAX_ITEMS.to_bytes(4, "big") + b"\x80" * MAX_ITEMS)
    with pytest.raises(FormatError, match="at most"):
        decode(bytes(MAX_BLOCK_BYTES + 1))


def test_links_come_in_the_order_of_the_bytes_as_often_as_they_occur() -> None:
    a, b = CID.of(RAW, b"a"), CID.of(DAG_CBOR, b"b")
    block = encode({"bb": [a, {"z": b}, a], "a": b, "ccc": "text"})
    assert links(block) == [b, a, b, a]
    assert links(encode(a)) == [a]
    assert links(encode(b"bytes")) == []


@pytest.mark.parametrize("value", [2**64, -(2**64) - 1, math.nan, math.inf, "\ud800"])
def test_what_has_no_encoding_is_the_callers_mistake(value: Value) -> None:
    with pytest.raises(ValueError):
        encode(value)


def test_other_types_have_no_encoding() -> None:
    with pytest.raises(TypeError):
        encode((1, 2))  # type: ignore[arg-type]

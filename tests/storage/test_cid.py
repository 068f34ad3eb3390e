"""CIDs: one text per block, every bit counts, and only hashes that we compute can verify."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.storage.cid import CID, DAG_CBOR, DAG_PB, RAW
from holdfast.storage.errors import FormatError, HashMismatchError, UnsupportedError

VECTORS = Path(__file__).parents[1] / "vectors"
HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
MULTIHASH = b"\x12\x20" + hashlib.sha256(b"hello world").digest()


def test_codec_fixtures_hash_to_their_names() -> None:
    codecs = {"dag-pb": DAG_PB, "dag-cbor": DAG_CBOR}
    for vector in json.loads((VECTORS / "codecs.json").read_text())["vectors"]:
        data = bytes.fromhex(vector["hex"])
        assert str(CID.of(codecs[vector["codec"]], data)) == vector["cid"], vector["name"]


def test_known_block_has_its_published_cid() -> None:
    cid = CID.of(RAW, b"hello world")
    assert str(cid) == HELLO
    assert CID.parse(HELLO) == cid == CID.raw(MULTIHASH[2:])
    assert cid.digest == MULTIHASH[2:]
    assert pickle.loads(pickle.dumps(cid)) == cid
    assert HELLO.endswith(cid.short()[-8:])


def test_every_base_that_is_read_names_the_same_block() -> None:
    cid = CID.parse(HELLO)
    assert CID.parse(HELLO.upper()) == cid
    assert CID.parse("f" + bytes(cid).hex()) == cid
    assert CID.parse("zb2rhj7crUKTQYRGCRATFaQ6YFLTde2YzdqbbhAASkL9uRDXn") == cid
    name = "k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8"
    assert CID.parse(name).digest.startswith(b"\x08\x01\x12\x20")


def test_v0_and_v1_name_the_same_dag_pb_block() -> None:
    empty_directory = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
    cid = CID.parse(empty_directory)
    assert str(cid) == empty_directory
    assert cid.codec == DAG_PB
    assert str(cid.v1()) == "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
    assert cid.matches(b"\x0a\x02\x08\x01")
    assert CID.from_bytes(bytes(cid)) == cid


@given(st.integers(0, 2**63 - 1), st.sampled_from([0x12, 0x13, 0x1E]), st.binary(min_size=20, max_size=127))
def test_binary_and_text_come_back(codec: int, code: int, digest: bytes) -> None:
    cid = CID(1, codec, bytes([code, len(digest)]) + digest)
    assert CID.from_bytes(bytes(cid)) == cid
    assert CID.read(b"xx" + bytes(cid) + b"yy", 2) == (cid, 2 + len(bytes(cid)))
    if len(bytes(cid)) < 120:
        assert CID.parse(str(cid)) == cid


@given(st.binary(max_size=200))
def test_any_bytes_are_a_cid_or_a_format_error(data: bytes) -> None:
    try:
        assert bytes(CID.from_bytes(data)) == data
    except FormatError:
        pass


@given(st.text(max_size=80) | st.text("abcdefghijklmnopqrstuvwxyz234567QmkzfB=", max_size=80))
def test_any_text_is_a_cid_or_a_format_error(text: str) -> None:
    for candidate in (text, "b" + text, "k" + text, "z" + text, "f" + text, "Qm" + text[:44]):
        try:
            CID.parse(candidate)
        except FormatError:
            pass


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "hello",
        HELLO + "a",
        HELLO[:-1],
        HELLO + "=",
        HELLO[:-1] + "f",
        "u" + HELLO[1:],
        "b" * 5000,
        "/ipfs/x",
    ],
)
def test_near_misses_are_not_cids(text: str) -> None:
    with pytest.raises(FormatError):
        CID.parse(text)


def test_one_flipped_bit_never_verifies() -> None:
    cid = CID.parse(HELLO)
    cid.verify(b"hello world")
    for bit in range(8 * 11):
        data = bytearray(b"hello world")
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(HashMismatchError):
            cid.verify(bytes(data))


def test_a_truncated_digest_verifies_nothing() -> None:
    """A 20-byte prefix of sha2-256 would be cheaper to collide; it must not pass for the whole."""
    cid = CID(1, RAW, b"\x12\x14" + MULTIHASH[2:22])
    assert not cid.matches(b"hello world")


def test_hashes_other_than_those_computed_are_named() -> None:
    assert CID(1, RAW, b"\x13\x40" + hashlib.sha512(b"x").digest()).matches(b"x")
    with pytest.raises(UnsupportedError, match="0x1f"):
        CID(1, RAW, b"\x1f\x20" + bytes(32)).matches(b"x")


def test_identity_cids_hold_at_most_128_bytes() -> None:
    cid, end = CID.read(b"\x01\x55\x00\x80\x01" + b"x" * 128, 0)
    assert (cid.digest, end) == (b"x" * 128, 133)
    assert cid.matches(b"x" * 128)
    assert not cid.matches(b"x" * 127)
    with pytest.raises(FormatError, match="IPIP-0512"):
        CID.read(b"\x01\x55\x00\x81\x01" + b"x" * 129, 0)


@pytest.mark.parametrize("length", [0, 19, 129])
def test_digests_too_short_to_be_safe_or_too_long_are_refused(length: int) -> None:
    head = b"\x01\x55\x12" + (bytes([length]) if length < 128 else b"\x81\x01")
    with pytest.raises(FormatError):
        CID.from_bytes(head + bytes(length))

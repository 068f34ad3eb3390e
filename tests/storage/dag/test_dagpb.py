"""dag-pb: strict, and the same bytes again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.storage.cid import CID, DAG_PB, RAW
from holdfast.storage.dag.dagpb import MAX_LINKS, PBLink, PBNode, decode, encode
from holdfast.storage.errors import FormatError

VECTORS = Path(__file__).parents[2] / "vectors"
ACCEPTED = [v for v in json.loads((VECTORS / "codecs.json").read_text())["vectors"] if v["codec"] == "dag-pb"]
REJECTED = json.loads((VECTORS / "codecs_rejected.json").read_text())["dag-pb"]
LINK = bytes.fromhex("0a0901550005000102030412016118ff01")  # identity CID, name "a", tsize 255

links = st.builds(
    PBLink,
    st.binary(max_size=9).map(lambda data: CID.of(RAW, data)),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    st.none() | st.integers(0, 2**63 - 1),
)
nodes = st.builds(PBNode, st.lists(links, max_size=5).map(tuple), st.none() | st.binary(max_size=20))


@pytest.mark.parametrize("vector", ACCEPTED, ids=lambda vector: vector["name"])
def test_fixtures_are_read_and_written_to_the_same_cid(vector: dict[str, str]) -> None:
    data = bytes.fromhex(vector["hex"])
    assert encode(decode(data)) == data
    assert str(CID.of(DAG_PB, encode(decode(memoryview(data))))) == vector["cid"]


@pytest.mark.parametrize("vector", REJECTED, ids=lambda vector: vector["name"])
def test_malformed_fixtures_are_refused(vector: dict[str, str]) -> None:
    with pytest.raises(FormatError):
        decode(bytes.fromhex(vector["hex"]))


@given(nodes)
def test_every_node_comes_back(node: PBNode) -> None:
    assert decode(encode(node)) == node


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_a_node_or_a_format_error(data: bytes) -> None:
    try:
        decode(data)
    except FormatError:
        pass


@given(nodes, st.data())
def test_a_cut_or_flipped_block_is_another_node_or_a_format_error(node: PBNode, data: st.DataObject) -> None:
    block = bytearray(encode(node))
    for _ in range(data.draw(st.integers(1, 3)) if block else 0):
        block[data.draw(st.integers(0, len(block) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        assert decode(bytes(block)) is not None
    except FormatError:
        pass


def test_data_before_links_is_read() -> None:
    link = b"\x12" + bytes([len(LINK)]) + LINK
    assert decode(b"\x0a\x01x" + link) == decode(link + b"\x0a\x01x")


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\x01x\x0a\x01y",  # Data twice
        b"\x1a\x00",  # an unknown field
        b"\x08\x01",  # Data with the wire type of a number
        b"\x0a\x81\x00x",  # a length that is not minimal
        b"\x0a\x02x",  # cut
        b"\x0a",
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a length of 2**63 - 1
        b"\x12" + bytes([len(LINK) + 2]) + LINK + LINK[-2:],  # bytes behind a link
        b"\x12" + bytes([len(LINK) + 3]) + LINK + LINK[-3:],  # Tsize twice
        b"\x12" + bytes([len(LINK) + 11]) + LINK + LINK[:11],  # Hash twice
        b"\x12\x0e\x0a\x09" + LINK[2:11] + b"\x12\x01\xff",  # a name that is not UTF-8
        b"\x12\x10\x0a\x09" + LINK[2:11] + b"\x18\x01\x12\x01a",  # Name behind Tsize
        b"\x12\x0d\x0a\x09" + LINK[2:11] + b"\x18\x80\x01",  # Tsize continues behind the link
        b"\x12\x0d\x0a\x0a" + LINK[2:11] + b"\x00\x00",  # bytes behind the CID in Hash
    ],
    ids=range(14),
)
def test_strictness(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode(data)


def test_a_block_full_of_tiny_links_does_not_become_a_mountain_of_objects() -> None:
    link = b"\x12\x06\x0a\x04\x01\x55\x00\x00"
    assert len(decode(link * MAX_LINKS).links) == MAX_LINKS
    with pytest.raises(FormatError, match="more than 65536 links"):
        decode(link * (MAX_LINKS + 1))
    with pytest.raises(FormatError, match="bytes"):
        decode(b"\x0a\x80\x80\x80\x01" + bytes(2 << 20))

"""UnixFS Data: reads what others write, refuses what nobody may."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.storage.dag.unixfs import NodeType, UnixFSNode, decode, encode
from holdfast.storage.errors import FormatError, UnsupportedError

number = st.none() | st.integers(0, 2**63 - 1)
nodes = st.builds(
    UnixFSNode,
    st.sampled_from(NodeType),
    st.none() | st.binary(max_size=20),
    number,
    st.lists(st.integers(0, 2**63 - 1), max_size=5).map(tuple),
    number,
    number,
    number,
    st.none() | st.integers(-(2**63), 2**63 - 1),
)


@given(nodes)
def test_every_node_comes_back(node: UnixFSNode) -> None:
    assert decode(encode(node)) == node


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_a_node_or_a_format_error(data: bytes) -> None:
    for candidate in (data, b"\x08\x02" + data):
        try:
            decode(candidate)
        except FormatError:
            pass


def test_packed_and_unpacked_block_sizes_are_the_same() -> None:
    assert decode(bytes.fromhex("0802 1803 2001 2002")) == decode(bytes.fromhex("0802 1803 2202 0102"))
    assert decode(bytes.fromhex("0802 1803 2001 2002")).blocksizes == (1, 2)


def test_a_file_before_1970_and_fractions_of_a_second_are_read() -> None:
    assert decode(bytes.fromhex("0802 4210 08ffffffffffffffffff01 1501000000")).mtime == -1


def test_unknown_fields_are_skipped() -> None:
    assert decode(bytes.fromhex("0801 4a0161 5001 5d00000000 610000000000000000")) == UnixFSNode(NodeType.DIRECTORY)


@pytest.mark.parametrize(
    "data",
    [
        "",  # no Type
        "1801",
        "08010802",  # Type twice
        "0a00",  # Type is bytes
        "080212",  # cut
        "08021205616263",
        "0802188100",  # not minimal
        "080218ffffffffffffffffff01",  # a size below zero
        "080220ffffffffffffffffff01",
        "0802220281",  # packed sizes cut
        "08024200",  # mtime without Seconds
        "08020b",  # a group
        "080200",  # field number 0
    ],
)
def test_malformed_data_is_refused(data: str) -> None:
    with pytest.raises(FormatError):
        decode(bytes.fromhex(data))


def test_unknown_types_are_named() -> None:
    with pytest.raises(UnsupportedError, match="type 6"):
        decode(b"\x08\x06")

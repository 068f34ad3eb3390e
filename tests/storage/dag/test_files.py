"""Layouts: what is built is read back; a lying, twisted or exploding DAG is refused in bounded work."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.storage.blocks.block import Block
from holdfast.storage.cid import CID, DAG_CBOR, DAG_PB, IDENTITY, RAW, SHA2_512
from holdfast.storage.dag.build import build_file
from holdfast.storage.dag.dagpb import PBLink
from holdfast.storage.dag.layout import FileLayout
from holdfast.storage.dag.unixfs import NodeType, UnixFSNode
from holdfast.storage.dag.walk import file_layout, raw_layout, run
from holdfast.storage.errors import FormatError, UnsupportedError
from holdfast.storage.limits import MAX_BLOCK_BYTES

from .blocks import Blocks, add_file, leaf


def pretend(size: int, leaf_size: int) -> tuple[FileLayout, Blocks]:
    """A file whose leaves nobody has: distinct digests are enough for its DAG."""
    count = max(1, -(-size // leaf_size))
    digests = b"".join(hashlib.sha256(b"%d" % index).digest() for index in range(count))
    layout, _, blocks = build_file(size, leaf_size, digests)
    return layout, Blocks(blocks)


@given(st.binary(max_size=300), st.integers(1, 64))
def test_a_file_is_read_back_as_it_was_built(data: bytes, leaf_size: int) -> None:
    blocks = Blocks()
    layout, target = add_file(blocks, data, leaf_size)
    assert run(file_layout(layout.cid), blocks.get) == layout
    assert target.cid == layout.cid
    parts = []
    for index in range(layout.leaves):
        start, end = layout.leaf_range(index)
        part = blocks[layout.leaf_cid(index)]
        assert (part, len(part)) == (data[start:end], layout.leaf_length(index))
        parts.append(part)
    assert b"".join(parts) == data
    assert target.tsize == sum(map(len, parts)) + sum(len(blocks[cid]) for cid in blocks if cid.codec == DAG_PB)


@pytest.mark.parametrize("leaves", [2, 1024, 1025, 2048, 2049, 1024 * 1024 + 1])
@pytest.mark.parametrize("tail", [0, -1])
def test_each_inner_node_is_asked_for_once(leaves: int, tail: int) -> None:
    layout, blocks = pretend(leaves * 16384 + tail, 16384)
    assert run(file_layout(layout.cid), blocks.get) == layout
    assert sorted(blocks.asked) == sorted(blocks)


@given(st.integers(0, 500), st.integers(1, 50), st.data())
def test_leaves_of_covers_exactly_the_bytes_asked_for(size: int, leaf_size: int, data: st.DataObject) -> None:
    layout, _ = pretend(size, leaf_size)
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, size))
    wanted = {offset // leaf_size for offset in range(start, end)}
    assert set(layout.leaves_of(start, end)) == wanted
    for outside in ((-1, 0), (0, size + 1), (1, 0)):
        with pytest.raises(ValueError):
            layout.leaves_of(*outside)


def test_an_empty_file_has_one_empty_leaf() -> None:
    empty = leaf(b"")
    layout = build_file(0, 1 << 20, empty.cid.digest)[0]
    assert (layout.leaves, layout.leaf_range(0), layout.leaf_cid(0)) == (1, (0, 0), empty.cid)
    assert layout.leaves_of(0, 0) == range(0)
    assert run(file_layout(empty.cid), Blocks([empty]).get) == layout == raw_layout(empty.cid, 0)
    with pytest.raises(FormatError, match="not the empty file"):
        raw_layout(leaf(b"x").cid, 0)


def test_indices_and_sizes_that_do_not_fit_are_the_callers_mistake() -> None:
    layout, _ = pretend(100, 10)
    for index in (-1, 10):
        with pytest.raises(IndexError):
            layout.leaf_digest(index)
    for size, leaf_size, digests in (
        (100, 10, 9),
        (100, 10, 11),
        (-1, 10, 1),
        (0, 10, 0),
        (1, 0, 1),
        (1, 3 << 20, 1),
    ):
        with pytest.raises(ValueError):
            build_file(size, leaf_size, bytes(32 * digests))


def test_trickle_trees_and_leaves_beside_nodes_are_read_in_order() -> None:
    blocks = Blocks()
    a, b, c, d = (leaf(data).cid for data in (b"aa", b"bb", b"cc", b"d"))
    inner = blocks.file((b, 2), (c, 2))
    root = blocks.file((a, 2), (inner, 4), (d, 1))
    layout = run(file_layout(root), blocks.get)
    assert (layout.size, layout.leaf_size, [layout.leaf_cid(i) for i in range(4)]) == (7, 2, [a, b, c, d])


def test_a_raw_leaf_that_is_longer_than_a_block_is_refused() -> None:
    with pytest.raises(FormatError):
        raw_layout(leaf(b"x").cid, MAX_BLOCK_BYTES + 1)
    with pytest.raises(ValueError):
        raw_layout(leaf(b"x").cid, -1)


def lies() -> dict[str, tuple[Blocks, CID]]:
    found = {}
    a, b = leaf(b"aa").cid, leaf(b"b").cid

    def add(name: str, blocks: Blocks, root: CID) -> None:
        found[name] = (blocks, root)

    for name, size in (("more", 4), ("less", 2), ("zero", 0)):
        blocks = Blocks()
        add(f"filesize says {name}", blocks, blocks.file((a, 2), (b, 1), filesize=size))
    blocks = Blocks()
    add("a child is longer than its parent says", blocks, blocks.file((blocks.file((a, 2), (b, 1)), 2)))
    blocks = Blocks()
    about = UnixFSNode(NodeType.FILE, None, 2, (2,))
    add("fewer sizes than links", blocks, blocks.node(about, PBLink(a, ""), PBLink(b, "")))
    blocks = Blocks()
    add("no filesize", blocks, blocks.node(UnixFSNode(NodeType.FILE, None, None, (2,)), PBLink(a, "")))
    blocks = Blocks()
    add("a leaf of 3 MiB", blocks, blocks.file((a, 3 << 20)))
    return found


@pytest.mark.parametrize("name", lies())
def test_sizes_that_lie_are_refused(name: str) -> None:
    blocks, root = lies()[name]
    with pytest.raises(FormatError) as caught:
        run(file_layout(root), blocks.get)
    assert not isinstance(caught.value, UnsupportedError)


def strange() -> dict[str, tuple[Blocks, CID]]:
    a, b, c = leaf(b"aa").cid, leaf(b"b").cid, leaf(b"ccc").cid
    sha512 = CID(1, RAW, bytes([SHA2_512, 64]) + hashlib.sha512(b"aa").digest())
    inline = CID(1, RAW, bytes([IDENTITY, 2]) + b"aa")
    blocks = Blocks()
    nodes = {
        "a short leaf in the middle": blocks.file((a, 2), (b, 1), (a, 2)),
        "a growing leaf": blocks.file((a, 2), (c, 3)),
        "an empty leaf": blocks.file((a, 2), (leaf(b"").cid, 0)),
        "a leaf inside a node": blocks.node(UnixFSNode(NodeType.FILE, b"aa", 2)),
        "bytes beside leaves": blocks.node(UnixFSNode(NodeType.FILE, b"x", 1)),
        "an empty node": blocks.node(UnixFSNode(NodeType.FILE, None, 0)),
        "a sha2-512 leaf": blocks.file((sha512, 2)),
        "an identity leaf": blocks.file((inline, 2)),
        "an identity file": inline,
        "a sha2-512 file": sha512,
        "a dag-cbor leaf": blocks.file((CID.of(DAG_CBOR, b"\xa0"), 1)),
        "a dag-cbor file": CID.of(DAG_CBOR, b"\xa0"),
        "a directory": blocks.directory(),
        "no UnixFS": blocks.node(None),
        "a symlink": blocks.node(UnixFSNode(NodeType.SYMLINK, b"/etc/passwd")),
    }
    blocks[sha512] = b"aa"
    return {name: (blocks, root) for name, root in nodes.items()}


@pytest.mark.parametrize("name", strange())
def test_layouts_that_are_not_read_are_named(name: str) -> None:
    blocks, root = strange()[name]
    with pytest.raises(UnsupportedError):
        run(file_layout(root), blocks.get)


def test_shared_subtrees_of_a_file_of_zeros_are_asked_for_once() -> None:
    blocks = Blocks()
    zero = leaf(bytes(16)).cid
    inner = blocks.file(*[(zero, 16)] * 1024)
    root = blocks.file(*[(inner, 16 * 1024)] * 1024)
    layout = run(file_layout(root), blocks.get)
    assert (layout.leaves, layout.size) == (1 << 20, 16 << 20)
    assert blocks.asked == [root, inner]


def test_a_fan_out_bomb_ends_at_the_bound_of_leaves() -> None:
    blocks = Blocks()
    cid, size = leaf(b"x").cid, 1
    for _ in range(6):  # 1024 ** 6 leaves in six blocks
        cid, size = blocks.file(*[(cid, size)] * 1024), size * 1024
    with pytest.raises(FormatError, match="leaves"):
        run(file_layout(cid), blocks.get)
    assert len(blocks.asked) == 6
    with pytest.raises(FormatError, match="leaves"):
        run(file_layout(pretend(100, 1)[0].cid, max_leaves=99), pretend(100, 1)[1].get)


def test_a_deep_chain_ends_at_the_bound_of_depth() -> None:
    blocks = Blocks()
    cid = leaf(b"x").cid
    for _ in range(1000):
        cid = blocks.file((cid, 1))
    with pytest.raises(FormatError, match="levels"):
        run(file_layout(cid), blocks.get)
    assert len(blocks.asked) <= 32


def test_a_cycle_ends_although_no_hash_could_make_one() -> None:
    blocks = Blocks()
    root = blocks.file((leaf(b"x").cid, 1))
    data = Blocks()
    data[root] = blocks[blocks.file((root, 1))]
    with pytest.raises(FormatError, match="levels"):
        run(file_layout(root), data.get)


@settings(max_examples=200)
@given(st.data())
def test_any_bytes_for_a_node_give_a_layout_or_a_format_error(data: st.DataObject) -> None:
    layout, blocks = pretend(50, 10)
    block = bytearray(blocks[layout.cid])
    for _ in range(data.draw(st.integers(1, 3))):
        block[data.draw(st.integers(0, len(block) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    forged = Block.encode(DAG_PB, bytes(block))
    try:
        got = run(file_layout(forged.cid), {forged.cid: forged.data}.__getitem__)
    except (FormatError, KeyError):  # KeyError: a leaf became a node that is not there
        return
    assert len(got.digests) == 32 * got.leaves

"""The order of a CAR: depth first, each block once, only what the scope asks for."""

from __future__ import annotations

import pytest

from holdfast.storage.cid import CID, IDENTITY, RAW
from holdfast.storage.dag import hamt, unixfs
from holdfast.storage.dag.dagpb import PBLink
from holdfast.storage.dag.unixfs import NodeType, UnixFSNode
from holdfast.storage.dag.walk import Scope, children, dag_order, run
from holdfast.storage.errors import FormatError, UnsupportedError

from .blocks import Blocks, add_file, leaf


def order(root: CID, scope: Scope, blocks: Blocks, *, dups: bool = False) -> list[CID]:
    found: list[CID] = []

    def get(cid: CID) -> bytes:
        found.append(cid)
        return b"" if cid.codec == RAW else blocks[cid]

    run(dag_order(root, scope, dups=dups), get)
    return found


def test_depth_first_parents_before_children_each_once() -> None:
    blocks = Blocks()
    layout, _ = add_file(blocks, b"aabbaac", 2)
    a, b, c = (leaf(data).cid for data in (b"aa", b"bb", b"c"))
    inner = blocks.directory(("again", layout.cid), ("c", c))
    root = blocks.directory(("dir", inner), ("file", layout.cid), ("z", leaf(b"z").cid))
    assert order(root, "all", blocks) == [root, inner, layout.cid, a, b, c, leaf(b"z").cid]
    assert order(root, "entity", blocks) == [root]
    assert order(root, "block", blocks) == [root]
    assert order(layout.cid, "entity", blocks) == [layout.cid, a, b, c]
    assert order(layout.cid, "block", blocks) == [layout.cid]
    assert order(a, "all", blocks) == order(a, "entity", blocks) == [a]
    assert children(root.codec, blocks[root]) == [inner, layout.cid, leaf(b"z").cid]


def test_entity_of_a_hamt_has_all_its_shards_and_none_of_its_entries() -> None:
    root, made = hamt.build([PBLink(leaf(b"%d" % n).cid, f"{n}", 1) for n in range(600)])
    blocks = Blocks(made)
    found = order(root.cid, "entity", blocks)
    assert found[0] == root.cid
    assert sorted(found) == sorted(blocks)
    assert len(order(root.cid, "all", blocks)) == len(blocks) + 600


@pytest.mark.parametrize(
    ("fanout", "slot", "entry"), [(16, "A", "Ax"), (16, "0", "0xyz"), (256, "0A", "0Ax"), (1024, "00A", "00Ax")]
)
def test_sub_shards_are_told_from_entries_by_the_width_of_a_slot(fanout: int, slot: str, entry: str) -> None:
    blocks = Blocks()
    about = UnixFSNode(NodeType.HAMT, b"\x01", hash_type=unixfs.MURMUR3_X64_64, fanout=fanout)
    target = leaf(b"entry").cid
    inner = blocks.node(about, PBLink(target, f"{slot}name", 1))
    root = blocks.node(about, PBLink(inner, slot, 1), PBLink(target, entry, 1))
    assert order(root, "entity", blocks) == [root, inner]


def test_identity_cids_are_followed_and_never_sent() -> None:
    blocks = Blocks()
    inline = CID(1, RAW, bytes([IDENTITY, 1]) + b"x")
    root = blocks.directory(("inline", inline), ("leaf", leaf(b"y").cid))
    assert order(root, "all", blocks) == [root, leaf(b"y").cid]
    assert order(inline, "block", blocks) == []


def test_codecs_whose_links_are_unknown_are_not_passed_off_as_complete() -> None:
    blocks = Blocks()
    other = CID.of(0x0129, b"{}")
    blocks[other] = b"{}"
    root = blocks.directory(("json", other))
    with pytest.raises(UnsupportedError):
        order(root, "all", blocks)
    assert order(other, "entity", blocks) == [other]


def test_links_of_dag_cbor_are_followed_in_the_order_of_the_bytes() -> None:
    blocks = Blocks()
    a, b = leaf(b"a").cid, leaf(b"b").cid
    inner = blocks.cbor([b, a, b])
    root = blocks.cbor({"zz": a, "y": inner, "x": {"deep": [b]}})
    assert order(root, "all", blocks) == [root, b, inner, a]
    assert order(root, "entity", blocks) == order(root, "block", blocks) == [root]


def test_with_duplicates_a_block_comes_whenever_it_is_met() -> None:
    blocks = Blocks()
    layout, _ = add_file(blocks, b"aabbaac", 2)
    a, b, c = (leaf(data).cid for data in (b"aa", b"bb", b"c"))
    root = blocks.directory(("1", layout.cid), ("2", layout.cid))
    once = [layout.cid, a, b, a, c]
    assert order(root, "all", blocks, dups=True) == [root, *once, *once]
    assert order(layout.cid, "entity", blocks, dups=True) == once
    with pytest.raises(FormatError, match="more than 100 blocks"):
        bomb = a
        for _ in range(6):
            bomb = blocks.directory(*((f"{n}", bomb) for n in range(1000)))
        run(dag_order(bomb, "all", dups=True, max_blocks=100), blocks.get)


def test_bombs_cost_no_more_than_their_blocks() -> None:
    blocks = Blocks()
    cid = leaf(b"x").cid
    for _ in range(6):
        cid = blocks.directory(*((f"{n}", cid) for n in range(1000)))
    assert len(order(cid, "all", blocks)) == 7
    for _ in range(5000):
        cid = blocks.directory(("deep", cid))
    assert len(order(cid, "all", blocks)) == 5007
    with pytest.raises(FormatError, match="more than 100 blocks"):
        run(dag_order(cid, "all", max_blocks=100), blocks.get)


def test_an_unknown_scope_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="dag-scope"):
        run(dag_order(leaf(b"").cid, "everything"), Blocks().get)  # type: ignore[arg-type]

"""Files of any shape, block by block: those of Kubo and Helia, shapes of our own, and DAGs that lie."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.storage.blocks.block import Block
from holdfast.storage.cid import BLAKE3, CID, DAG_CBOR, DAG_PB, IDENTITY, RAW, SHA2_512
from holdfast.storage.dag import dagpb
from holdfast.storage.dag.car import CarReader
from holdfast.storage.dag.content import ContentWalk, Part, content
from holdfast.storage.dag.unixfs import NodeType, UnixFSNode
from holdfast.storage.dag.walk import NoLayoutError, file_layout, link_target, list_directory, resolve, run
from holdfast.storage.errors import FormatError, UnsupportedError
from support.foreign import VECTORS, Vector, digests
from support.odd_trees import OddTree, shapes

from .blocks import Blocks, leaf


def read(get: Callable[[CID], bytes], cid: CID, start: int = 0, end: int | None = None) -> bytes:
    def own(part: Part) -> bytes:
        return part.cid.digest if part.cid.hash_code == IDENTITY else get(part.cid)

    return b"".join(content(ContentWalk(cid, start, end), own))


# -- as others write it


def blocks_of(vector: Vector) -> Callable[[CID], bytes]:
    with vector.car.open("rb") as file:
        reader = CarReader(file)
        found = {block.cid.multihash: block.data for block in reader}
        assert reader.roots == (vector.root,)
    return lambda cid: found[cid.multihash]


@pytest.mark.parametrize("name", VECTORS)
def test_trees_of_kubo_and_helia_are_read_byte_by_byte(name: str) -> None:
    vector = VECTORS[name]
    get = blocks_of(vector)
    files, links = {}, {}
    stack = [("", vector.root)]
    while stack:
        place, cid = stack.pop()
        for entry in run(list_directory(cid), get):
            path = f"{place}{entry.name}"
            found = run(resolve(cid, [entry.name]), get)
            assert found.cid == entry.cid
            if found.kind == "directory":
                stack.append((f"{path}/", entry.cid))
            elif found.kind == "symlink":
                links[path] = run(link_target(entry.cid), get)
            else:
                files[path] = read(get, entry.cid)
    assert (digests(files), links) == (vector.files, vector.links)


def test_the_vectors_are_not_all_of_the_quick_kind() -> None:
    quick, slow = 0, 0
    for vector in VECTORS.values():
        get = blocks_of(vector)
        for entry in run(list_directory(vector.root), get):
            if entry.name in ("a.bin", "m.bin"):
                try:
                    layout = run(file_layout(entry.cid), get)
                    assert layout.size == vector.files[entry.name][0]
                    quick += 1
                except NoLayoutError:
                    slow += 1
    assert quick >= 8
    assert slow >= 15


# -- shapes of our own making, by an encoder of its own


@settings(max_examples=150, deadline=None)
@given(shapes(), st.data())
def test_any_shape_and_any_range_of_it(tree: OddTree, data: st.DataObject) -> None:
    assert read(tree.get, tree.root) == tree.data
    start = data.draw(st.integers(0, len(tree.data)))
    end = data.draw(st.integers(start, len(tree.data)))
    assert read(tree.get, tree.root, start, end) == tree.data[start:end]


@settings(max_examples=150, deadline=None)
@given(shapes())
def test_where_there_is_a_layout_both_ways_agree(tree: OddTree) -> None:
    try:
        layout = run(file_layout(tree.root), tree.get)
    except NoLayoutError:
        return
    leaves = [tree.get(layout.leaf_cid(index)) for index in range(layout.leaves)]
    assert b"".join(leaves) == tree.data


def test_a_range_does_not_visit_what_lies_outside_of_it() -> None:
    blocks = Blocks()
    parts = [blocks.node(UnixFSNode(NodeType.FILE, b"%04d" % n, 4)) for n in range(100)]
    root = blocks.file(*[(blocks.file(*[(cid, 4) for cid in parts[at : at + 10]]), 40) for at in range(0, 100, 10)])
    blocks.asked.clear()
    assert read(blocks.get, root, 43, 46) == b"00100011"[3:6]
    assert len(blocks.asked) == 4  # the root, one node, two leaves


def test_the_window_ahead_is_in_the_order_in_which_blocks_are_wanted() -> None:
    blocks = Blocks()
    a, b, c, d = (blocks.node(UnixFSNode(NodeType.FILE, data, 1)) for data in (b"a", b"b", b"c", b"d"))
    inner = blocks.file((b, 1), (c, 1))
    walk = ContentWalk(blocks.file((a, 1), (inner, 2), (d, 1)))
    walk.take(blocks[walk.cid])
    assert [(part.cid, part.start, part.size) for part in walk.ahead(9)] == [(a, 0, 1), (inner, 1, 2), (d, 3, 1)]
    walk.take(blocks[a])
    walk.take(blocks[inner])
    assert [part.cid for part in walk.ahead(2)] == [b, c]


# -- files that lie


def lies() -> dict[str, tuple[Blocks, CID]]:
    found = {}

    def add(name: str, build: Callable[[Blocks], CID]) -> None:
        blocks = Blocks([leaf(b"aa"), leaf(b"b")])
        found[name] = (blocks, build(blocks))

    a = leaf(b"aa").cid
    add("a leaf is longer than its parent says", lambda own: own.file((a, 1)))
    add("a leaf is shorter than its parent says", lambda own: own.file((a, 3)))
    add("a node is longer", lambda own: own.file((own.node(UnixFSNode(NodeType.FILE, b"xyz", 3)), 2)))
    add("a node lies about itself", lambda own: own.node(UnixFSNode(NodeType.FILE, b"xyz", 2)))
    add("a node says nothing", lambda own: own.node(UnixFSNode(NodeType.FILE, None, None, (2,)), dagpb.PBLink(a)))
    add("filesize beyond its parts", lambda own: own.file((a, 2), filesize=1 << 60))
    add("more sizes than links", lambda own: own.node(UnixFSNode(NodeType.FILE, b"", 4, (2, 2)), dagpb.PBLink(a)))
    add("an empty leaf that is none", lambda own: own.file((a, 0), (a, 2)))
    return found


@pytest.mark.parametrize("name", lies())
def test_sizes_that_lie_are_a_format_error(name: str) -> None:
    blocks, root = lies()[name]
    with pytest.raises(FormatError) as caught:
        read(blocks.get, root)
    assert not isinstance(caught.value, UnsupportedError)


@pytest.mark.parametrize(
    "build",
    [
        lambda own: own.file((own.directory(), 0)),
        lambda own: own.file((CID.of(DAG_CBOR, b"\xa0"), 1)),
        lambda own: own.file((own.node(None), 0)),
        lambda own: own.node(UnixFSNode(NodeType.SYMLINK, b"/etc/passwd")),
    ],
)
def test_what_is_no_part_of_a_file_is_named(build: Callable[[Blocks], CID]) -> None:
    blocks = Blocks()
    root = build(blocks)
    blocks[CID.of(DAG_CBOR, b"\xa0")] = b"\xa0"
    with pytest.raises(UnsupportedError, match=r"UnixFS|not a part"):
        read(blocks.get, root)


def test_a_fan_out_bomb_ends_at_the_bound_of_parts() -> None:
    blocks = Blocks()
    cid, size = blocks.node(UnixFSNode(NodeType.FILE, b"x", 1)), 1
    for _ in range(6):
        cid, size = blocks.file(*[(cid, size)] * 1024), size * 1024
    walk = ContentWalk(cid, max_parts=10_000)
    with pytest.raises(FormatError, match="parts"):
        for _ in content(walk, lambda part: blocks[part.cid]):
            pass


def test_empty_nodes_without_end_are_bounded_too() -> None:
    blocks = Blocks()
    cid = blocks.node(UnixFSNode(NodeType.FILE, None, 0))
    for _ in range(6):
        cid = blocks.file(*[(cid, 0)] * 1024)
    with pytest.raises(FormatError, match="parts"):
        for _ in content(ContentWalk(cid, max_parts=10_000), lambda part: blocks[part.cid]):
            pass


def test_a_deep_chain_ends_at_the_bound_of_depth() -> None:
    blocks = Blocks()
    cid = blocks.node(UnixFSNode(NodeType.FILE, b"x", 1))
    for _ in range(1000):
        cid = blocks.file((cid, 1))
    with pytest.raises(FormatError, match="levels"):
        read(blocks.get, cid)
    assert len(blocks.asked) <= 32


def test_nodes_with_too_many_links_are_refused_before_they_fill_the_memory() -> None:
    blocks = Blocks()
    byte = CID(1, RAW, bytes([IDENTITY, 1]) + b"x")
    cid, size = byte, 1
    for _ in range(6):
        cid, size = blocks.file((cid, size), *[(byte, 1)] * 60_000), size + 60_000
    with pytest.raises(FormatError, match="too many links"):
        read(blocks.get, cid)


@settings(max_examples=200, deadline=None)
@given(shapes(), st.data())
def test_flipped_bits_give_bytes_or_a_format_error(tree: OddTree, data: st.DataObject) -> None:
    block = bytearray(tree.get(tree.root))
    if not block or tree.root.codec == RAW:
        return
    for _ in range(data.draw(st.integers(1, 3))):
        block[data.draw(st.integers(0, len(block) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    forged = Block.encode(DAG_PB, bytes(block))
    try:
        read(lambda cid: forged.data if cid == forged.cid else tree.get(cid), forged.cid)
    except (FormatError, KeyError):
        return


@pytest.mark.parametrize("code", [SHA2_512, BLAKE3])
def test_hashes_are_those_of_their_specifications(code: int) -> None:
    known = {
        SHA2_512: hashlib.sha512(b"").hexdigest(),
        BLAKE3: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    }
    digest = bytes.fromhex(known[code])
    cid = CID(1, RAW, bytes([code, len(digest)]) + digest)
    assert cid.matches(b"")
    assert not cid.matches(b"x")
    assert CID.parse(str(cid)) == cid

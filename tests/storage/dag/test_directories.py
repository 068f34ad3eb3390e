"""Directories: every name is found, nothing escapes, and shards that lie are refused."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from holdfast.storage.cid import CID, DAG_CBOR
from holdfast.storage.dag import hamt
from holdfast.storage.dag.build import Entry, build_directory, build_tree
from holdfast.storage.dag.dagpb import PBLink
from holdfast.storage.dag.unixfs import NodeType, UnixFSNode
from holdfast.storage.dag.walk import PathNotFoundError, Resolved, arun, list_directory, resolve, run
from holdfast.storage.errors import FormatError, UnsupportedError

from .blocks import Blocks, add_file, entry, leaf

BAD_NAMES = ["", ".", "..", "a\0b", "\ud800", "n" * 256, "ü" * 128]
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..")
)


def hamt_of(files: dict[str, Entry]) -> tuple[CID, Blocks]:
    root, blocks = hamt.build([PBLink(target.cid, name, target.tsize) for name, target in files.items()])
    return root.cid, Blocks(blocks)


@given(st.dictionaries(names, st.binary(max_size=4), max_size=12))
def test_a_directory_lists_what_it_was_built_of_sorted_bytewise(files: dict[str, bytes]) -> None:
    entries = {name: entry(data) for name, data in files.items()}
    target, made = build_directory(entries)
    sharded, shards = hamt_of(entries)
    for root, blocks in ((target.cid, Blocks(made)), (sharded, shards)):
        listed = run(list_directory(root), blocks.get)
        assert [item.name.encode() for item in listed] == sorted(name.encode() for name in files)
        assert {item.name: Entry(item.cid, item.tsize or 0) for item in listed} == entries


@given(st.dictionaries(st.lists(names, min_size=1, max_size=3).map("/".join), st.binary(max_size=4), max_size=8))
def test_a_tree_resolves_every_path_and_depends_on_no_order(files: dict[str, bytes]) -> None:
    assume(not any(other.startswith(path + "/") for path in files for other in files))
    target, made = build_tree({path: entry(data) for path, data in files.items()})
    assert build_tree({path: entry(files[path]) for path in reversed(files)})[0] == target
    blocks = Blocks(made)
    for path, data in files.items():
        found = run(resolve(target.cid, path.split("/")), blocks.get)
        assert (found.cid, found.kind) == (leaf(data).cid, "raw")
        assert found.trail[0] == target.cid
        assert len(found.trail) == path.count("/") + 1


def test_every_name_of_a_hamt_is_found_with_its_proof_and_no_other() -> None:
    files = {f"file-{number}": entry(b"%d" % number) for number in range(900)}
    root, blocks = hamt_of(files)
    assert len(run(list_directory(root), blocks.get)) == 900
    assert sorted(blocks.asked) == sorted(blocks)  # each shard once
    depths = set()
    for name, target in files.items():
        found = run(resolve(root, [name]), blocks.get)
        assert found.cid == target.cid
        assert blocks.asked[-len(found.trail) :] == list(found.trail)
        depths.add(len(found.trail))
    assert {1, 2} <= depths <= {1, 2, 3}
    for name in ("file-900", "file-", "x"):
        with pytest.raises(PathNotFoundError):
            run(resolve(root, [name]), blocks.get)


def test_kinds_and_trails() -> None:
    blocks = Blocks()
    layout, _ = add_file(blocks, b"0123456789", 4)
    link = blocks.node(UnixFSNode(NodeType.SYMLINK, b"../../etc/passwd"))
    odd = blocks.node(None)
    json, small = CID.of(0x0129, b"{}"), leaf(b"x").cid
    inner = blocks.directory(("file", layout.cid), ("link", link))
    root = blocks.directory(("dir", inner), ("json", json), ("odd", odd), ("small", small))
    expected = {
        "": Resolved(root, "directory", (root,), (root,)),
        "dir": Resolved(inner, "directory", (root, inner), (root, inner)),
        "dir/file": Resolved(layout.cid, "file", (root, inner, layout.cid), (root, inner, layout.cid)),
        "dir/link": Resolved(link, "symlink", (root, inner, link), (root, inner, link)),
        "small": Resolved(small, "raw", (root,), (root, small)),
        "odd": Resolved(odd, "other", (root, odd), (root, odd)),
        "json": Resolved(json, "other", (root,), (root, json)),
    }

    async def get(cid: CID) -> bytes:
        return blocks.get(cid)

    for path, found in expected.items():
        segments = path.split("/") if path else []
        assert run(resolve(root, segments), blocks.get) == found
        assert asyncio.run(arun(resolve(root, segments), get)) == found
    for path in ("none", "small/x", "dir/file/x", "dir/none/x"):
        with pytest.raises(PathNotFoundError):
            run(resolve(root, path.split("/")), blocks.get)
    for path in ("dir/link/x", "json/x", "odd/x"):
        with pytest.raises(UnsupportedError):
            run(resolve(root, path.split("/")), blocks.get)
    with pytest.raises(PathNotFoundError):
        run(resolve(small, ["x"]), blocks.get)


@pytest.mark.parametrize("name", [*BAD_NAMES, "a/b", "/"])
def test_names_that_could_escape_a_folder_are_neither_written_nor_listed(name: str) -> None:
    with pytest.raises(FormatError):
        build_directory({name: entry(b"x")})
    if name != "\ud800":  # not UTF-8: no block can say it
        blocks = Blocks()
        with pytest.raises(FormatError):
            run(list_directory(blocks.directory(("ok", leaf(b"x").cid), (name, leaf(b"x").cid))), blocks.get)
        if name:  # a nameless link of a shard is a sub-shard
            root, shards = hamt_of({name: entry(b"x")})
            with pytest.raises(FormatError):
                run(list_directory(root), shards.get)
    with pytest.raises(PathNotFoundError):
        run(resolve(build_directory({})[0].cid, [name]), Blocks(build_directory({})[1]).get)


@pytest.mark.parametrize("path", [*BAD_NAMES, "/a", "a/", "a//b", "a/../b", "./a", "a/" * 2100 + "a"])
def test_paths_that_are_not_plain_are_refused(path: str) -> None:
    with pytest.raises(FormatError):
        build_tree({path: entry(b"x")})


def test_a_path_cannot_be_a_file_and_a_directory() -> None:
    for order in (["a", "a/b"], ["a/b", "a"], ["x/a/b/c", "x/a"]):
        with pytest.raises(FormatError, match="a file and a directory"):
            build_tree({path: entry(b"x") for path in order})


def test_a_deep_tree_needs_no_recursion() -> None:
    path = "/".join(["d"] * 2000)
    target, made = build_tree({path: entry(b"x")})
    assert run(resolve(target.cid, path.split("/")), Blocks(made).get).kind == "raw"
    with pytest.raises(PathNotFoundError, match="4096"):
        run(resolve(target.cid, ["d"] * 2100), Blocks(made).get)


def test_a_name_that_occurs_twice_is_refused_by_listing_and_by_lookup() -> None:
    blocks = Blocks()
    root = blocks.directory(("a", leaf(b"1").cid), ("b", leaf(b"2").cid), ("a", leaf(b"3").cid))
    with pytest.raises(FormatError, match="two entries"):
        run(list_directory(root), blocks.get)
    with pytest.raises(FormatError, match="two entries"):
        run(resolve(root, ["a"]), blocks.get)


def test_listing_stops_at_its_bound() -> None:
    root, blocks = hamt_of({f"{number}": entry(b"x") for number in range(300)})
    assert len(run(list_directory(root, max_entries=300), blocks.get)) == 300
    with pytest.raises(FormatError, match="more than 299"):
        run(list_directory(root, max_entries=299), blocks.get)


def shard(blocks: Blocks, *links: PBLink, bits: int | None = None, fanout: int = 256, hashed: int = 0x22) -> CID:
    if bits is None:
        bits = sum(1 << int((link.name or "")[:2], 16) for link in links)
    field = bits.to_bytes(32, "big").lstrip(b"\0")
    return blocks.node(UnixFSNode(NodeType.HAMT, field, hash_type=hashed, fanout=fanout), *links)


def placed(name: str, depth: int = 0) -> PBLink:
    return PBLink(leaf(b"x").cid, f"{hamt.name_hash(name.encode())[depth]:02X}{name}", 1)


def test_shards_that_lie_are_refused_by_listing_and_by_lookup() -> None:
    blocks = Blocks()
    good = placed("good")
    assert good.name is not None
    slot = int(good.name[:2], 16)
    other = f"{slot ^ 1:02X}"
    file = blocks.file((leaf(b"x").cid, 1))
    attacks = {
        "an entry in another's slot": shard(blocks, PBLink(good.cid, other + "good", 1)),
        "a bit without a link": shard(blocks, good, bits=1 << slot | 1 << (slot ^ 1)),
        "a link without a bit": shard(blocks, good, bits=0),
        "a slot twice": shard(blocks, good, good),
        "slots out of order": shard(blocks, *sorted([good, placed("b")], key=lambda x: x.name or "", reverse=True)),
        "a lower-case slot": shard(blocks, PBLink(good.cid, "0agood", 1)),
        "no slot": shard(blocks, PBLink(good.cid, "", 1), bits=1),
        "a bitfield of 33 bytes": blocks.node(UnixFSNode(NodeType.HAMT, b"\1" * 33, hash_type=0x22, fanout=256), good),
        "another fanout": shard(blocks, good, fanout=1024),
        "another hash": shard(blocks, good, hashed=0x12),
        "an empty sub-shard": shard(blocks, PBLink(shard(blocks), good.name[:2], 1)),
        "a file for a sub-shard": shard(blocks, PBLink(file, good.name[:2], 1)),
        "a directory for a sub-shard": shard(blocks, PBLink(blocks.directory(), good.name[:2], 1)),
        "a leaf for a sub-shard": shard(blocks, PBLink(leaf(b"x").cid, good.name[:2], 1)),
    }
    for name, root in attacks.items():
        with pytest.raises(FormatError):
            pytest.fail(f"{name}: {run(list_directory(root), blocks.get)}")
        with pytest.raises(FormatError):
            pytest.fail(f"{name}: {run(resolve(root, ['good']), blocks.get)}")


def test_a_hamt_deeper_than_its_hash_and_one_that_fans_out_into_itself_end() -> None:
    blocks = Blocks()
    path = hamt.name_hash(b"good")
    cid = shard(blocks, placed("good", 7))
    for depth in reversed(range(7)):
        cid = shard(blocks, PBLink(cid, f"{path[depth]:02X}", 1))
    assert [item.name for item in run(list_directory(cid), blocks.get)] == ["good"]
    deeper = shard(blocks, PBLink(cid, f"{path[0]:02X}", 1))
    bomb = shard(blocks, placed("good", 7))
    for _ in range(7):
        bomb = shard(blocks, *(PBLink(bomb, f"{slot:02X}", 1) for slot in range(256)))
    for root in (deeper, bomb):
        blocks.asked.clear()
        with pytest.raises(FormatError):
            run(list_directory(root), blocks.get)
        assert len(blocks.asked) <= 9
    with pytest.raises(FormatError):
        run(resolve(deeper, ["good"]), blocks.get)


def test_names_that_share_all_64_bits_of_their_hash_are_refused() -> None:
    """murmur3 is no cryptographic hash: such names can be made."""
    link = PBLink(leaf(b"x").cid, None, 1)
    with pytest.raises(FormatError, match="64-bit"):
        hamt._build([(bytes(8), "a", link), (bytes(8), "b", link)], 0, [])


def test_a_file_is_not_a_directory() -> None:
    blocks = Blocks()
    for root in (
        blocks.file((leaf(b"x").cid, 1)),
        leaf(b"x").cid,
        CID.of(DAG_CBOR, b"\xa0"),
        blocks.node(None),
    ):
        with pytest.raises(FormatError):
            run(list_directory(root), blocks.get)

"""Trees of Kubo and Helia through all that moves bytes: import, a peer, `get`, a mirror of it, `verify`, a pin."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.storage.blocks.block import Block
from holdfast.storage.blocks.car_file import export_car, import_car
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID, DAG_PB, RAW
from holdfast.storage.dag import dagpb, unixfs
from holdfast.storage.dag.dagpb import PBLink, PBNode
from holdfast.storage.dag.unixfs import NodeType, UnixFSNode
from holdfast.storage.errors import FormatError, HoldfastError, UnavailableError, UnsupportedError
from holdfast.storage.get import get
from holdfast.storage.session import Session, choose_sources
from holdfast.storage.sources.netguard import NetGuard
from holdfast.storage.uri import DatasetUri
from holdfast.storage.verify import verify_folder, verify_sources
from support.foreign import VECTORS, digests, files_in
from support.mirror_server import MirrorServer, Reply
from support.running_node import RunningNode

NAMED = sorted(VECTORS)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """One peer that has all vectors."""
    repo = tmp_path_factory.mktemp("foreign") / "repo"
    with DiskStore(repo).open() as store:
        for vector in VECTORS.values():
            found = import_car(store, vector.car)
            assert (found.roots, found.missing) == ((vector.root,), None)
    with RunningNode(repo) as node:
        yield node


@pytest.mark.parametrize("name", NAMED)
def test_get_from_a_peer_makes_a_mirror_that_serves_it_again(peer: RunningNode, tmp_path: Path, name: str) -> None:
    vector = VECTORS[name]
    found = get(str(vector.root), tmp_path / "copy", sources=[peer.url])
    assert files_in(tmp_path / "copy") == vector.files
    assert found.links == tuple(f"{path} → {target}" for path, target in sorted(vector.links.items()))
    assert found.bytes == sum(size for size, _ in vector.files.values())
    assert verify_folder(tmp_path / "copy").ok
    assert not any(path.is_symlink() for path in (tmp_path / "copy").rglob("*"))
    with MirrorServer(tmp_path / "copy") as mirror:
        get(str(vector.root), tmp_path / "again", sources=[mirror.url])
        assert files_in(tmp_path / "again") == vector.files
        mirror.requests.clear()
        assert get(str(vector.root), tmp_path / "again", sources=[mirror.url]).files == len(vector.files)
        assert not any(path in vector.files for path in mirror.requests), "what is here is not fetched again"


@pytest.mark.parametrize("name", NAMED)
def test_verify_reads_everything_from_a_peer(peer: RunningNode, name: str) -> None:
    vector = VECTORS[name]
    with Session(DatasetUri.parse(str(vector.root)), choose_sources([peer.url])) as session:
        found = verify_sources(session.tree)
    assert (found.ok, found.files) == (True, len(vector.files))
    assert found.bytes == sum(size for size, _ in vector.files.values())


@pytest.mark.parametrize("name", NAMED)
def test_a_peer_answers_plain_files_whole_and_in_ranges(peer: RunningNode, name: str) -> None:
    vector = VECTORS[name]
    for path in list(vector.files)[:6]:
        answer = peer.get(f"/ipfs/{vector.root}/{path}")
        assert (answer.status, digests({path: answer.body})[path]) == (200, vector.files[path])
        size = len(answer.body)
        for start, end in ((0, 0), (size // 3, size - 1), (size - 1, size - 1)):
            if size:
                part = peer.get(f"/ipfs/{vector.root}/{path}", Range=f"bytes={start}-{end}")
                assert (part.status, part.body) == (206, answer.body[start : end + 1])


@pytest.mark.parametrize("name", NAMED)
def test_a_peer_pins_it_and_a_car_of_it_is_the_same(peer: RunningNode, tmp_path: Path, name: str) -> None:
    vector = VECTORS[name]
    with RunningNode(tmp_path / "pinner", guard=NetGuard.parse(["127.0.0.0/8"])) as other:
        assert other.settled(other.pin(vector.root, peer.url))["status"] == "pinned"
        for version in (1, 2):
            export_car(other.store, vector.root, tmp_path / "a.car", version=version)
            export_car(peer.store, vector.root, tmp_path / "b.car", version=version)
            assert (tmp_path / "a.car").read_bytes() == (tmp_path / "b.car").read_bytes()
    with DiskStore(tmp_path / "third").open() as third:
        assert import_car(third, tmp_path / "a.car").missing is None


# -- one big file of dag-pb leaves, as Kubo made them by default for years


LEAF = 10_000
DATA = random.Random(77).randbytes(60 * LEAF + 123)


def _node(about: UnixFSNode, *links: PBLink) -> Block:
    return Block.encode(DAG_PB, dagpb.encode(PBNode(links, unixfs.encode(about))))


def _tree(claim: int = LEAF) -> tuple[CID, list[Block]]:
    """A folder with `big.bin`; the size of one leaf is claimed to be `claim`."""
    parts = [DATA[at : at + LEAF] for at in range(0, len(DATA), LEAF)]
    leaves = [_node(UnixFSNode(NodeType.FILE, part, len(part))) for part in parts]
    sizes = [len(part) for part in parts]
    sizes[7] = claim
    file = _node(
        UnixFSNode(NodeType.FILE, None, sum(sizes), tuple(sizes)),
        *(PBLink(leaf.cid, "", len(leaf.data)) for leaf in leaves),
    )
    top = _node(UnixFSNode(NodeType.DIRECTORY), PBLink(file.cid, "big.bin", 1))
    return top.cid, [*leaves, file, top]


def _serve(folder: Path, blocks: list[Block]) -> Path:
    place = folder / ".holdfast/blocks"
    place.mkdir(parents=True)
    for block in blocks:
        (place / str(block.cid)).write_bytes(block.data)
    return folder


def test_two_sources_one_of_which_flips_bytes(tmp_path: Path) -> None:
    root, blocks = _tree()
    folder = _serve(tmp_path / "origin", blocks)
    large = {f".holdfast/blocks/{block.cid}" for block in blocks if len(block.data) > LEAF}

    def flip(path: str, reply: Reply) -> Reply:
        if path in large:
            reply.body = reply.body[:-1] + bytes([reply.body[-1] ^ 1])
        return reply

    with MirrorServer(folder, flip) as bad, MirrorServer(folder) as good:
        found = get(str(root), tmp_path / "copy", sources=[bad.url, good.url])
    assert (tmp_path / "copy/big.bin").read_bytes() == DATA
    wrong = {source.url: source.wrong for source in found.sources}
    assert wrong[good.url] == 0
    assert wrong[bad.url] > 0


def test_a_get_that_was_cut_off_goes_on_with_what_it_has(tmp_path: Path) -> None:
    root, blocks = _tree()
    folder = _serve(tmp_path / "origin", blocks)
    there = [str(block.cid) for block in blocks[:30]]  # leaves, in their order
    behind = {str(block.cid) for block in blocks[30:61]}

    def tire(path: str, reply: Reply) -> Reply:
        return Reply(503, {}, b"") if path.rpartition("/")[2] in behind else reply

    with MirrorServer(folder, tire) as tired, pytest.raises(UnavailableError):
        get(str(root), tmp_path / "copy", sources=[tired.url], deadline_s=1)
    assert not (tmp_path / "copy/big.bin").exists()
    kept = {path.name for path in (tmp_path / "copy/.holdfast/blocks").iterdir()}
    assert kept >= set(there)
    with MirrorServer(folder) as again:
        get(str(root), tmp_path / "copy", sources=[again.url])
        fetched = [path.rpartition("/")[2] for path in again.requests]
    assert (tmp_path / "copy/big.bin").read_bytes() == DATA
    assert kept & set(fetched) <= {str(root)}, "but for the probe"
    assert not (tmp_path / "copy/.holdfast/partial").exists()


def test_blocks_come_several_at_a_time_and_each_once(tmp_path: Path) -> None:
    root, blocks = _tree()

    def slow(path: str, reply: Reply) -> Reply:
        reply.pause_s = 0.05
        return reply

    with MirrorServer(_serve(tmp_path / "origin", blocks), slow) as server:
        found = get(str(root), tmp_path / "copy", sources=[server.url])
    assert found.seconds < 0.6 * 0.05 * len(blocks)
    asked = [path for path in server.requests if path.endswith(tuple(str(block.cid) for block in blocks[:-2]))]
    assert len(asked) == len(set(asked)) == len(blocks) - 2


def test_small_files_that_are_nodes_come_several_at_a_time_and_are_not_fetched_again(tmp_path: Path) -> None:
    files = {f"{number:03}": b"%d" % number for number in range(60)}
    nodes = [_node(UnixFSNode(NodeType.FILE, data, len(data))) for data in files.values()]
    top = _node(UnixFSNode(NodeType.DIRECTORY), *(PBLink(b.cid, n, 1) for n, b in zip(files, nodes, strict=True)))

    def slow(path: str, reply: Reply) -> Reply:
        reply.pause_s = 0.05
        return reply

    with MirrorServer(_serve(tmp_path / "origin", [*nodes, top]), slow) as server:
        found = get(str(top.cid), tmp_path / "copy", sources=[server.url])
        assert found.seconds < 0.6 * 0.05 * len(files)
        assert len(server.requests) == len(set(server.requests))
        assert files_in(tmp_path / "copy") == digests(files)
        server.requests.clear()
        get(str(top.cid), tmp_path / "copy", sources=[server.url])
        assert server.requests == []


@pytest.mark.parametrize("claim", [LEAF - 1, LEAF + 1, 0, 1 << 40, (1 << 62)])
def test_a_size_that_lies_is_named_and_costs_nothing(tmp_path: Path, claim: int) -> None:
    root, blocks = _tree(claim)
    with MirrorServer(_serve(tmp_path / "origin", blocks)) as server:
        with pytest.raises(FormatError, match="its parent says") as caught:
            get(str(root), tmp_path / "copy", sources=[server.url], deadline_s=3)
        assert not isinstance(caught.value, UnsupportedError)
        with Session(DatasetUri.parse(str(root)), choose_sources([server.url])) as session:
            (finding,) = verify_sources(session.tree).findings
            assert finding.path == "big.bin"
    assert not (tmp_path / "copy/big.bin").exists()
    used = sum(path.stat().st_blocks * 512 for path in (tmp_path / "copy").rglob("*") if path.is_file())
    assert used < 3 * len(DATA)


def test_a_plain_size_that_lies_is_named_too(tmp_path: Path) -> None:
    parts = [DATA[:LEAF], DATA[LEAF : 2 * LEAF], DATA[2 * LEAF : 3 * LEAF]]
    about = UnixFSNode(NodeType.FILE, None, 3 * LEAF + 3, (LEAF + 1,) * 3)
    file = _node(about, *(PBLink(CID.of(RAW, part), "", LEAF + 1) for part in parts))
    with DiskStore(tmp_path / "repo").open() as store:
        for block in (file, *(Block.encode(RAW, part) for part in parts)):
            store.put(block.cid, block.data)
    with RunningNode(tmp_path / "repo") as node:
        with pytest.raises(FormatError, match=f"has {LEAF} bytes; its node says {LEAF + 1}"):
            get(str(file.cid), tmp_path / "copy", sources=[node.url], deadline_s=1)
        answer = node.get(f"/ipfs/{file.cid}")
        assert answer.status == 406, "and the peer sends nothing that it cannot send as promised"


def test_a_copy_that_rots_is_found_wherever_it_rots(tmp_path: Path) -> None:
    root, blocks = _tree()
    with MirrorServer(_serve(tmp_path / "origin", blocks)) as server:
        get(str(root), tmp_path / "copy", sources=[server.url])
        file = tmp_path / "copy/big.bin"
        for damage in (DATA[:-1], DATA + b"x", DATA[:500] + b"!" + DATA[501:], b""):
            file.write_bytes(damage)
            assert [finding.path for finding in verify_folder(tmp_path / "copy").findings] == ["big.bin"]
            get(str(root), tmp_path / "copy", sources=[server.url])
            assert file.read_bytes() == DATA
        node = tmp_path / "copy/.holdfast/blocks" / str(blocks[3].cid)
        node.write_bytes(node.read_bytes()[:-1])
        assert not verify_folder(tmp_path / "copy").ok
        get(str(root), tmp_path / "copy", sources=[server.url])
        assert verify_folder(tmp_path / "copy").ok


def test_uneven_raw_leaves_are_ranges_of_a_mirrors_file(tmp_path: Path) -> None:
    parts = [DATA[:100], DATA[100:5000], DATA[5000:5001], DATA[5001:9000]]
    links = [PBLink(CID.of(RAW, part), "", len(part)) for part in parts]
    file = _node(UnixFSNode(NodeType.FILE, None, 9000, tuple(map(len, parts))), *links)
    top = _node(UnixFSNode(NodeType.DIRECTORY), PBLink(file.cid, "b c.bin", 1))
    folder = _serve(tmp_path / "origin", [file, top])
    (folder / "b c.bin").write_bytes(DATA[:9000])
    for ranges in (True, False):
        with MirrorServer(folder, ranges=ranges) as server:
            get(str(top.cid), tmp_path / f"copy{ranges}", sources=[server.url])
        assert (tmp_path / f"copy{ranges}/b c.bin").read_bytes() == DATA[:9000]
        assert server.requests.count("b c.bin") == len(parts)
    assert len(list((tmp_path / "copyTrue/.holdfast/blocks").iterdir())) == 2, "leaves are in the file alone"


def test_a_mirror_with_a_short_file_is_named_and_nothing_is_kept_as_right(tmp_path: Path) -> None:
    parts = [DATA[:100], DATA[100:5000]]
    links = [PBLink(CID.of(RAW, part), "", len(part)) for part in parts]
    file = _node(UnixFSNode(NodeType.FILE, None, 5000, (100, 4900, 0)), *links, PBLink(CID.of(RAW, b""), "", 0))
    folder = _serve(tmp_path / "origin", [file])
    (folder / str(file.cid)).write_bytes(DATA[:4999])
    with MirrorServer(folder) as server, pytest.raises(HoldfastError) as caught:
        get(str(file.cid), tmp_path / "copy", sources=[server.url], deadline_s=1)
    assert caught.value.exit_code in (3, 4)
    assert [path.name for path in (tmp_path / "copy").iterdir()] == [".holdfast"]


def test_a_pin_of_it_keeps_to_the_quota(tmp_path: Path) -> None:
    root, blocks = _tree()
    with MirrorServer(_serve(tmp_path / "origin", blocks)) as server:
        with RunningNode(tmp_path / "r", guard=NetGuard.parse(["127.0.0.0/8"]), max_bytes=100_000) as node:
            assert node.settled(node.pin(root, server.url))["status"] == "failed"
            assert sum(path.stat().st_size for path in (tmp_path / "r/nodes").rglob("*") if path.is_file()) <= 100_000

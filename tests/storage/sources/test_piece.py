"""Storage providers that lie, cut, stall or lose pieces, beside an honest one: what comes is what was published."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from holdfast.configs.roster import Provider, Roster, write_roster
from holdfast.pipeline.pieces.keep import write_manifest
from holdfast.pipeline.pieces.pack import pack
from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID, RAW
from holdfast.storage.dag.walk import file_layout, run
from holdfast.storage.dataset import Dataset
from holdfast.storage.errors import ConfigError, HoldfastError, LeafMissingError
from holdfast.storage.get import get
from holdfast.storage.pieces.block_table import ROW, BlockTable
from holdfast.storage.pieces.manifest import PieceManifest
from holdfast.storage.session import Session
from holdfast.storage.sources.from_roster import readable, sources_of
from holdfast.storage.sources.http import Endpoint
from holdfast.storage.sources.local import Local
from holdfast.storage.sources.piece import PieceSource
from holdfast.storage.sources.source import FileRef
from holdfast.storage.sources.transfer import Transfer
from holdfast.storage.uri import DatasetUri
from support.mirror_server import MirrorServer, Reply

KIB = 1 << 10
Script = Callable[[str, Reply], Reply | None]


def _wrong_byte(_: str, reply: Reply) -> Reply:
    if len(reply.body) > 1000:
        reply.body = reply.body[:700] + bytes([reply.body[700] ^ 1]) + reply.body[701:]
    return reply


def _whole_for_a_range(_: str, reply: Reply) -> Reply:
    if reply.status == 206:
        reply.headers.clear()
        reply.status = 200
    return reply


def _another_range(_: str, reply: Reply) -> Reply:
    if reply.status == 206:
        reply.headers["Content-Range"] = "bytes 0-9/10"
    return reply


def _cut(_: str, reply: Reply) -> Reply:
    reply.cut = len(reply.body) // 2
    return reply


def _error(_: str, reply: Reply) -> Reply:
    return Reply(500, {}, b"sealing")


def _lost(_: str, reply: Reply) -> Reply:
    return Reply(404, {}, b"")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """The dataset's URI, its files, and a provider's folder with the manifest beside it."""
    place = tmp_path_factory.mktemp("pieces")
    (place / "src").mkdir()
    for number in range(6):
        (place / f"src/{number}.bin").write_bytes(random.Random(number).randbytes(100 * KIB))
    root = publish(
        place / "src", name="d", repo=place / "repo", format="tokens", dtype="uint16", leaf_size=16 * KIB
    ).root
    with DiskStore(place / "repo").open(create=False) as store:
        made = pack(store, root, cars=place / "cars", max_group_bytes=250 * KIB)
        write_manifest(made, place / "manifest")
    (place / "sp/piece").mkdir(parents=True)
    for path in (place / "cars").iterdir():
        path.rename(place / "sp/piece" / path.stem)
    return f"ipfs://{root}", place / "src", place


def _roster(place: Path, target: Path, *urls: str) -> Roster:
    providers = [
        Provider(name=f"sp{at}", kind="filecoin", url=url, pieces=place / "manifest") for at, url in enumerate(urls)
    ]
    target.write_text(write_roster(providers))
    return Roster.load(target)


def _beside_a_mirror(target: Path, sp: MirrorServer, manifest: Path, mirror: MirrorServer) -> Roster:
    providers = [
        Provider(name="sp", kind="filecoin", url=sp.url, pieces=manifest),
        Provider(name="m", kind="mirror", url=mirror.url),
    ]
    target.write_text(write_roster(providers))
    return Roster.load(target)


def _same(source: Path, copy: Path) -> bool:
    return all((copy / "data" / path.name).read_bytes() == path.read_bytes() for path in source.iterdir())


def test_a_dataset_comes_from_pieces_alone(world: tuple[str, Path, Path], tmp_path: Path) -> None:
    uri, source, place = world
    with MirrorServer(place / "sp") as server:
        result = get(uri, tmp_path / "got", sources=_roster(place, tmp_path / "r.toml", server.url))
        assert all(request.startswith("piece/bafkzcib") for request in server.requests)
    assert _same(source, tmp_path / "got")
    assert result.sources[0].wrong == 0


def test_without_range_it_is_slower_and_right(world: tuple[str, Path, Path], tmp_path: Path) -> None:
    uri, source, place = world
    with MirrorServer(place / "sp", ranges=False) as server:
        get(uri, tmp_path / "got", sources=_roster(place, tmp_path / "r.toml", server.url))
    assert _same(source, tmp_path / "got")


@pytest.mark.parametrize("script", [_wrong_byte, _whole_for_a_range, _another_range, _cut, _error, _lost])
def test_beside_one_that_misbehaves(world: tuple[str, Path, Path], tmp_path: Path, script: Script) -> None:
    uri, source, place = world
    with MirrorServer(place / "sp", script) as bad, MirrorServer(place / "sp") as good:
        result = get(uri, tmp_path / "got", sources=_roster(place, tmp_path / "r.toml", bad.url, good.url))
        assert bad.requests
    assert _same(source, tmp_path / "got")
    first, second = result.sources
    assert second.wrong == 0, "nobody else is blamed"
    assert set(first.verdicts) - {"OK"}, "what it did is said"
    assert (first.wrong > 0) == (script in (_wrong_byte, _another_range))


def test_a_mirror_and_a_provider_share_the_work(world: tuple[str, Path, Path], tmp_path: Path) -> None:
    uri, source, place = world
    get(uri, tmp_path / "mirror", store=DiskStore(place / "repo").open(create=False))
    with MirrorServer(place / "sp") as sp, MirrorServer(tmp_path / "mirror") as mirror:
        result = get(
            uri, tmp_path / "got", sources=_beside_a_mirror(tmp_path / "r.toml", sp, place / "manifest", mirror)
        )
    assert _same(source, tmp_path / "got")
    assert all(one.bytes > 0 for one in result.sources)


def _without(lost: set[int], place: Path) -> Script:
    """A provider that lacks the pieces of these numbers."""
    names = {
        str(piece.cid) for number, piece in enumerate(PieceManifest.read(place / "manifest").pieces) if number in lost
    }
    return lambda path, _: Reply(404, {}, b"") if path.removeprefix("piece/") in names else None


@pytest.mark.parametrize("shard_is_cut", [False, True])
def test_two_providers_that_have_half_of_the_pieces_each(
    world: tuple[str, Path, Path], tmp_path: Path, shard_is_cut: bool
) -> None:
    uri, source, place = world
    if shard_is_cut:  # a shard that is longer than a piece lies in several
        place = tmp_path / "cut"
        (place / "sp/piece").mkdir(parents=True)
        with DiskStore(world[2] / "repo").open(create=False) as store:
            made = pack(store, CID.parse(uri[7:]), cars=place / "cars", max_piece_bytes=60 * KIB)
        write_manifest(made, place / "manifest")
        for path in (place / "cars").iterdir():
            path.rename(place / "sp/piece" / path.stem)
    last = len(PieceManifest.read(place / "manifest").pieces) - 1
    even, odd = set(range(0, last, 2)), set(range(1, last, 2))
    with MirrorServer(place / "sp", _without(even, place)) as a, MirrorServer(place / "sp", _without(odd, place)) as b:
        result = get(uri, tmp_path / "got", sources=_roster(place, tmp_path / "r.toml", a.url, b.url), deadline_s=10)
    assert _same(source, tmp_path / "got")
    assert all(one.bytes > 0 and one.wrong == 0 for one in result.sources)


def test_a_block_is_taken_out_of_another_piece_that_has_it(tmp_path: Path) -> None:
    shared = random.Random(5).randbytes(16 * KIB)
    (tmp_path / "src").mkdir()
    for number in range(6):
        (tmp_path / f"src/{number}.bin").write_bytes(shared + random.Random(number).randbytes(32 * KIB))
    root = publish(
        tmp_path / "src", name="d", repo=tmp_path / "repo", format="tokens", dtype="uint16", leaf_size=16 * KIB
    )
    with DiskStore(tmp_path / "repo").open(create=False) as store:
        made = pack(store, root.root, cars=tmp_path / "sp/piece", max_group_bytes=50 * KIB)
    for piece in made.pieces:
        (tmp_path / f"sp/piece/{piece.cid}.car").rename(tmp_path / f"sp/piece/{piece.cid}")
    cid = CID.of(RAW, shared)
    first, *others = made.blocks.find(cid.digest)
    assert others
    (tmp_path / f"sp/piece/{made.pieces[first.piece].cid}").unlink()
    with MirrorServer(tmp_path / "sp") as server, closing(PieceSource("sp", Endpoint(server.url), made)) as source:
        for _ in range(3):
            assert cid.matches(source.fetch_block(cid, root.root, Transfer()))
        assert len(server.requests) == 4, "the lost piece is asked for once"


def test_the_manifest_of_another_version_gives_what_they_share(world: tuple[str, Path, Path], tmp_path: Path) -> None:
    _, source, place = world
    shutil.copytree(source, tmp_path / "src")
    changed = tmp_path / "src/3.bin"
    changed.write_bytes(changed.read_bytes()[:-1000] + bytes(1000))
    root = publish(
        tmp_path / "src", name="d", repo=tmp_path / "repo", format="tokens", dtype="uint16", leaf_size=16 * KIB
    ).root
    get(f"ipfs://{root}", tmp_path / "mirror", store=DiskStore(tmp_path / "repo").open(create=False))

    def only_what_is_new(path: str, _: Reply) -> Reply | None:
        return Reply(404, {}, b"") if path.startswith("data/") and path != "data/3.bin" else None

    with MirrorServer(place / "sp") as sp, MirrorServer(tmp_path / "mirror", only_what_is_new) as mirror:
        source_ = PieceSource("sp", Endpoint(sp.url), PieceManifest.read(place / "manifest"))
        with DiskStore(tmp_path / "repo").open(create=False) as store, closing(source_):
            layout = run(file_layout(CID.parse(_shard(store, root, 3))), lambda one: store.get(one).data)
            seen: list[int] = []
            with pytest.raises(LeafMissingError) as caught:
                source_.fetch_leaves(
                    FileRef(root, "data/3.bin", layout),
                    0,
                    layout.leaves,
                    Transfer(),
                    lambda leaf, _: seen.append(leaf) is None,
                )
        assert seen == list(range(layout.leaves - 1)), "all but the last"
        assert caught.value.count == 1
        result = get(
            f"ipfs://{root}",
            tmp_path / "got",
            sources=_beside_a_mirror(tmp_path / "r.toml", sp, place / "manifest", mirror),
        )
    assert _same(tmp_path / "src", tmp_path / "got")
    assert result.sources[0].bytes > 100 * KIB


def test_a_wrong_row_is_one_block_and_not_its_piece(world: tuple[str, Path, Path]) -> None:
    uri, _, place = world
    made = PieceManifest.read(place / "manifest")
    (first, _), (second, lies), *_ = made.blocks.of_piece(0)
    rows = np.fromfile(place / "manifest/blocks.bin", ROW)
    rows["offset"][(rows["offset"] == lies.offset) & (rows["piece"] == 0)] -= 1
    wrong = PieceManifest(made.root, made.pieces, BlockTable(rows))
    with MirrorServer(place / "sp") as server, closing(PieceSource("sp", Endpoint(server.url), wrong)) as source:
        with pytest.raises(LeafMissingError, match="another block"):
            source.fetch_block(second, CID.parse(uri[7:]), Transfer())
        assert first.matches(source.fetch_block(first, CID.parse(uri[7:]), Transfer()))


def test_a_manifest_that_is_wrong_convicts_no_provider(world: tuple[str, Path, Path], tmp_path: Path) -> None:
    uri, source, place = world
    shutil.copytree(place / "manifest", tmp_path / "manifest")
    rows = np.fromfile(tmp_path / "manifest/blocks.bin", ROW)
    rows["offset"] -= (rows["length"] > 10_000) & (rows["offset"] > 50_000)
    rows.tofile(tmp_path / "manifest/blocks.bin")
    get(uri, tmp_path / "mirror", store=DiskStore(place / "repo").open(create=False))
    with MirrorServer(place / "sp") as sp, MirrorServer(tmp_path / "mirror") as mirror:
        result = get(
            uri, tmp_path / "got", sources=_beside_a_mirror(tmp_path / "r.toml", sp, tmp_path / "manifest", mirror)
        )
    assert _same(source, tmp_path / "got")
    assert [one.wrong for one in result.sources] == [0, 0], result.sources
    assert result.sources[0].verdicts["MISSING"] > 0


def _shard(store: DiskStore, root: CID, number: int) -> str:
    with Session(DatasetUri(root), [Local(store)]) as session:
        return list(Dataset(session.tree).open().shards())[number].cid


def test_a_manifest_of_another_dataset_has_nothing_of_it(world: tuple[str, Path, Path], tmp_path: Path) -> None:
    _, _, place = world
    (tmp_path / "src").mkdir()
    (tmp_path / "src/0.bin").write_bytes(random.Random(99).randbytes(50 * KIB))
    other = publish(tmp_path / "src", name="o", repo=tmp_path / "repo", format="tokens", dtype="uint16").root
    with MirrorServer(place / "sp") as server, pytest.raises(HoldfastError, match="none of the"):
        get(f"ipfs://{other}", tmp_path / "got", sources=_roster(place, tmp_path / "r.toml", server.url), deadline_s=2)


def test_what_a_roster_says_wrongly(world: tuple[str, Path, Path], tmp_path: Path) -> None:
    _, _, place = world
    with pytest.raises(ConfigError, match="no piece manifest"):
        sources_of(Roster.parse(_text("filecoin", "nowhere"), "r", path=tmp_path / "r.toml"), env={})
    with pytest.raises(ConfigError, match="expected pieces at a filecoin provider"):
        Roster.parse(_text("mirror", "nowhere"), "r")
    bare = Provider(name="sp", kind="filecoin", url="http://127.0.0.1:9")
    assert not readable(bare)
    assert readable(bare.model_copy(update={"pieces": place / "manifest"}))
    with pytest.raises(ConfigError, match="nothing that can be read from"):
        sources_of(Roster(providers=(bare,)), env={})
    shutil.copytree(place / "manifest", tmp_path / "manifest")
    roster = Roster.parse(_text("filecoin", "manifest"), "r", path=tmp_path / "r.toml")
    assert len(sources_of(roster, env={})) == 1, "relative to the roster"


def _text(kind: str, pieces: str) -> str:
    return f'format = 1\n[[provider]]\nname = "sp"\nkind = "{kind}"\nurl = "http://127.0.0.1:9"\npieces = "{pieces}"\n'

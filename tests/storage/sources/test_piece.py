"""Storage providers that lie, cut, stall or lose pieces, beside an honest one: what comes is what was published."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.configs.roster import Provider, Roster, write_roster
from holdfast.pipeline.pieces.keep import write_manifest
from holdfast.pipeline.pieces.pack import pack
from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.errors import ConfigError, HoldfastError
from holdfast.storage.get import get
from holdfast.storage.sources.from_roster import readable, sources_of
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
        providers = [
            Provider(name="sp", kind="filecoin", url=sp.url, pieces=place / "manifest"),
            Provider(name="m", kind="mirror", url=mirror.url),
        ]
        (tmp_path / "r.toml").write_text(write_roster(providers))
        result = get(uri, tmp_path / "got", sources=Roster.load(tmp_path / "r.toml"))
    assert _same(source, tmp_path / "got")
    assert all(one.bytes > 0 for one in result.sources)


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

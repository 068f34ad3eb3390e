"""T7: names and members made to run code or to leave their folder. Names are data: nothing outside changes."""

from __future__ import annotations

import io
import os
import pickle
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast import StreamingDataset
from holdfast.loaders.errors import SampleError
from holdfast.storage.blocks.block import Block
from holdfast.storage.cid import CID, DAG_PB
from holdfast.storage.dag import unixfs
from holdfast.storage.dag.dagpb import PBLink, PBNode, encode
from holdfast.storage.errors import ConfigError, FormatError, HoldfastError, StoreError
from holdfast.storage.get import get
from support.mirror_server import MirrorServer
from support.published import publish_mirror
from support.samples import collect
from support.sources import snapshot
from support.trees import LEAF, mirror_folder


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """What lies around DEST: it must be the same afterwards."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "precious.txt").write_bytes(b"precious")
    before = snapshot(place)
    beside = {path.name for path in tmp_path.iterdir()}
    yield place
    assert snapshot(place) == before
    assert {path.name for path in tmp_path.iterdir()} - beside <= {"dest", "origin", "cache", "src", "repo", "mirror"}


# -- members that run code


class _Canary:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mknod, (str(self._path),)


def _tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            if "\0" in name:
                info = tarfile.TarInfo("x.txt")
                info.pax_headers = {"path": name}
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _object_array(canary: Path) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([_Canary(canary)], dtype=object), allow_pickle=True)
    return out.getvalue()


EXTENSIONS = ["pyd", "pkl", "pickle", "pth", "pt", "PKL", "meta.pkl", "npy", "npz", "ten", "tb"]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_member_that_would_run_code_is_refused_and_named(tmp_path: Path, outside: Path, extension: str) -> None:
    canary = outside / "canary"
    evil = _object_array(canary) if extension == "npy" else pickle.dumps(_Canary(canary))
    _tar(tmp_path / "src/s.tar", [("good.txt", b"good"), (f"evil7.{extension}", evil)])
    uri = publish_mirror(tmp_path, tmp_path / "src")
    with MirrorServer(tmp_path / "mirror") as server:
        for decode in ("torch", "pil"):
            dataset = StreamingDataset(
                uri, sources=[server.url], cache=tmp_path / "cache", decode=decode, shuffle=False
            )
            with pytest.raises(SampleError) as caught:
                collect(dataset)
            dataset.close()
            assert "evil7" in caught.value.message
            assert extension in caught.value.message
            assert not canary.exists()
        dataset = StreamingDataset(uri, sources=[server.url], cache=tmp_path / "cache", shuffle=False)
        good, found = collect(dataset)
    assert good["txt"] == b"good"
    assert found[extension] == evil, "undecoded it is bytes, as published"
    assert not canary.exists()


NAMES = ["../x", "/x", "C:\\x", "a/../../b", "nul\0byte", "~/x", "é/e\u0301", "-rf", "$(touch x)", "a\nb"]


def test_member_names_are_keys_and_never_paths(tmp_path: Path, outside: Path) -> None:
    members = [(f"{name}.txt", str(number).encode()) for number, name in enumerate(NAMES)]
    _tar(tmp_path / "src/s.tar", members)
    rooted = [Path("/x.txt"), Path("/b.txt"), Path.home() / "x.txt"]
    assert not any(path.exists() for path in rooted)
    uri = publish_mirror(tmp_path, tmp_path / "src")
    with MirrorServer(tmp_path / "mirror") as server:
        dataset = StreamingDataset(uri, sources=[server.url], cache=tmp_path / "cache", shuffle=False)
        found = {sample["__key__"]: sample["txt"] for sample in collect(dataset)}
    assert found == {name: str(number).encode() for number, name in enumerate(NAMES)}
    assert not any(path.exists() for path in rooted)
    for place in (tmp_path / "cache", tmp_path / "mirror", tmp_path / "repo"):
        assert not [path for path in place.rglob("*") if path.name in ("x.txt", "b.txt", "x", "b")]


# -- published trees with names that lead elsewhere


def _directory(links: list[PBLink]) -> Block:
    return Block.encode(
        DAG_PB, encode(PBNode(tuple(links), unixfs.encode(unixfs.UnixFSNode(unixfs.NodeType.DIRECTORY))))
    )


def _serve(folder: Path, blocks: list[Block]) -> None:
    place = folder / ".holdfast/blocks"
    place.mkdir(parents=True, exist_ok=True)
    for block in blocks:
        (place / str(block.cid)).write_bytes(block.data)


DATA = b"payload of the attacker"
BAD_NAMES = ["..", ".", "", "a/b", "/abs", "../../x", "a\\..\\b", "nul\0", "x" * 300, ".holdfast"]


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: repr(name[:12]))
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_tree_with_a_hostile_name_is_refused_and_nothing_is_written(
    tmp_path: Path, outside: Path, name: str, depth: int, kind: str
) -> None:
    if name == ".holdfast" and depth:
        pytest.skip("only at the top does this name mean anything")
    leaf = CID.of(0x55, DATA)
    inner = _directory([PBLink(leaf, "evil.txt", len(DATA))])
    target = PBLink(leaf, name, len(DATA)) if kind == "file" else PBLink(inner.cid, name, 100)
    top = _directory([target])
    blocks = [inner, top]
    for _ in range(depth):
        top = _directory([PBLink(top.cid, "sub", 100)])
        blocks.append(top)
    _serve(tmp_path / "origin", blocks)
    (tmp_path / "origin/evil.txt").write_bytes(DATA)
    with MirrorServer(tmp_path / "origin", lambda path, reply: _answer_any(path, reply)) as server:
        with pytest.raises(HoldfastError) as caught:
            get(str(top.cid), tmp_path / "dest", sources=[server.url], deadline_s=3)
    assert isinstance(caught.value, FormatError), caught.value
    written = [path for path in (tmp_path / "dest").rglob("*") if path.is_file()]
    assert [path for path in written if path.parent != tmp_path / "dest/.holdfast/blocks"] == []


def _answer_any(path: str, reply: Any) -> Any:
    if not path.startswith((".holdfast/blocks/", "ipfs/")):
        reply.status, reply.body = 200, DATA
    return reply


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"\xed\xa0\x80"])
def test_a_name_that_is_no_utf8_is_refused(tmp_path: Path, outside: Path, raw: bytes) -> None:
    good = _directory([PBLink(CID.of(0x55, DATA), "@" * len(raw), len(DATA))])
    data = good.data.replace(b"@" * len(raw), raw)
    top = Block.encode(DAG_PB, data)
    _serve(tmp_path / "origin", [top])
    with MirrorServer(tmp_path / "origin", _answer_any) as server, pytest.raises(FormatError):
        get(str(top.cid), tmp_path / "dest", sources=[server.url], deadline_s=3)


def test_two_entries_of_one_name_are_refused(tmp_path: Path, outside: Path) -> None:
    inner = _directory([PBLink(CID.of(0x55, DATA), "x", len(DATA))])
    top = _directory([PBLink(CID.of(0x55, DATA), "a", len(DATA)), PBLink(inner.cid, "a", 100)])
    _serve(tmp_path / "origin", [top, inner])
    with MirrorServer(tmp_path / "origin", _answer_any) as server, pytest.raises(FormatError, match="two entries"):
        get(str(top.cid), tmp_path / "dest", sources=[server.url], deadline_s=3)


def test_a_symlink_in_a_tree_is_named_and_not_made(tmp_path: Path, outside: Path) -> None:
    target = unixfs.encode(unixfs.UnixFSNode(unixfs.NodeType.SYMLINK, os.fsencode(outside)))
    link = Block.encode(DAG_PB, encode(PBNode((), target)))
    top = _directory([PBLink(link.cid, "data", 10)])
    _serve(tmp_path / "origin", [top, link])
    with MirrorServer(tmp_path / "origin", _answer_any) as server:
        found = get(str(top.cid), tmp_path / "dest", sources=[server.url], deadline_s=3)
    assert (found.files, found.links) == (0, (f"data → {outside}",))
    assert not any(path.is_symlink() for path in (tmp_path / "dest").rglob("*"))


@pytest.mark.parametrize("claim", [0, 5, 1 << 40, (1 << 63) - 1])
def test_a_link_that_lies_about_its_size_costs_nothing(tmp_path: Path, outside: Path, claim: int) -> None:
    top = _directory([PBLink(CID.of(0x55, DATA), "x.bin", claim)])
    _serve(tmp_path / "origin", [top])
    with MirrorServer(tmp_path / "origin", _answer_any) as server, pytest.raises(HoldfastError) as caught:
        get(str(top.cid), tmp_path / "dest", sources=[server.url], deadline_s=2)
    assert caught.value.exit_code in (3, 4)
    assert sum(path.stat().st_size for path in (tmp_path / "dest").rglob("*") if path.is_file()) < 4096


@pytest.mark.parametrize("path", ["../x", "/x", "data/../../x", "data\\\\x", "data//x", "data/\\u0000"])
def test_a_manifest_with_a_hostile_path_is_refused(tmp_path: Path, outside: Path, path: str) -> None:
    _tar(tmp_path / "src/s.tar", [("a.txt", b"a")])
    publish_mirror(tmp_path, tmp_path / "src")
    files = {
        str(file.relative_to(tmp_path / "mirror")): file.read_bytes()
        for file in (tmp_path / "mirror").rglob("*")
        if file.is_file() and ".holdfast" not in file.parts
    }
    page = files["manifest/00000.jsonl"].decode()
    assert '"path":"data/s.tar"' in page
    files["manifest/00000.jsonl"] = page.replace('"path":"data/s.tar"', f'"path":"{path}"').encode()
    root = mirror_folder(tmp_path / "origin", files)
    with MirrorServer(tmp_path / "origin") as server:
        dataset = StreamingDataset(str(root), sources=[server.url], cache=tmp_path / "cache")
        with pytest.raises(FormatError, match="path"):
            collect(dataset)
        dataset.close()
        with pytest.raises(FormatError, match="path"):
            get(str(root), tmp_path / "dest", sources=[server.url], partition="default")
        get(str(root), tmp_path / "dest", sources=[server.url])  # the tree itself is harmless
    assert (tmp_path / "dest/data/s.tar").read_bytes() == files["data/s.tar"]


# -- a destination that leads elsewhere

FILES = {"data/a.bin": random.Random(11).randbytes(2 * LEAF + 5), "b.txt": b"b"}


@pytest.mark.parametrize("trap", ["data", ".holdfast", ".holdfast/blocks", ".holdfast/partial"])
def test_a_folder_in_dest_that_is_a_symlink_is_not_followed(tmp_path: Path, outside: Path, trap: str) -> None:
    root = mirror_folder(tmp_path / "origin", FILES)
    (tmp_path / "dest/.holdfast").mkdir(parents=True)
    if trap == ".holdfast":
        (tmp_path / "dest/.holdfast").rmdir()
    (tmp_path / "dest" / trap).symlink_to(outside)
    with MirrorServer(tmp_path / "origin") as server:
        with pytest.raises((ConfigError, StoreError), match=r"symlink|symbolic"):
            get(str(root), tmp_path / "dest", sources=[server.url])
    assert (tmp_path / "dest" / trap).is_symlink()


def test_files_in_dest_that_are_symlinks_are_replaced_not_followed(tmp_path: Path, outside: Path) -> None:
    root = mirror_folder(tmp_path / "origin", FILES)
    nodes = [path.name for path in (tmp_path / "origin/.holdfast/blocks").iterdir()]
    for name in ("data/a.bin", "b.txt", *(f".holdfast/blocks/{node}" for node in nodes)):
        path = tmp_path / "dest" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(outside / "precious.txt")
    with MirrorServer(tmp_path / "origin") as server:
        get(str(root), tmp_path / "dest", sources=[server.url])
    assert {name: (tmp_path / "dest" / name).read_bytes() for name in FILES} == FILES
    assert not any(path.is_symlink() for path in (tmp_path / "dest").rglob("*"))


def test_a_partial_file_that_is_a_symlink_is_not_written_through(tmp_path: Path, outside: Path) -> None:
    root = mirror_folder(tmp_path / "origin", FILES)
    stop = lambda path, reply: setattr(reply, "status", 404) if path.startswith("data/") else None
    with MirrorServer(tmp_path / "origin", stop) as server, pytest.raises(HoldfastError):
        get(str(root), tmp_path / "dest", sources=[server.url], deadline_s=1)
    partial = [path for path in (tmp_path / "dest/.holdfast/partial").iterdir() if path.suffix != ".marks"]
    assert partial
    for path in partial:
        path.unlink()
        path.symlink_to(outside / "precious.txt")
    with MirrorServer(tmp_path / "origin") as server, pytest.raises(StoreError):
        get(str(root), tmp_path / "dest", sources=[server.url])


def test_the_users_own_symlink_to_a_folder_is_a_destination(tmp_path: Path) -> None:
    root = mirror_folder(tmp_path / "origin", FILES)
    (tmp_path / "real").mkdir()
    (tmp_path / "dest").symlink_to(tmp_path / "real")
    with MirrorServer(tmp_path / "origin") as server:
        get(str(root), tmp_path / "dest", sources=[server.url])
    assert (tmp_path / "real/data/a.bin").read_bytes() == FILES["data/a.bin"]

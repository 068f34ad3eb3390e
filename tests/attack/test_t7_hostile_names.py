"""T7: published trees whose names lead elsewhere. They are refused, and nothing outside the destination changes."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from holdfast.demo.faults.origin import Folder, Reply, Request
from holdfast.demo.faults.server import FaultServer
from holdfast.storage.blocks.block import Block
from holdfast.storage.cid import CID, DAG_PB
from holdfast.storage.dag import unixfs
from holdfast.storage.dag.dagpb import PBLink, PBNode, encode
from support.disk import check_copy, files_of
from support.published import publish_mirror
from support.trees import mirror_folder
from support.victim import END_S, PEAK_BYTES, Outcome, Victim

DATA = b"payload of the attacker"
BAD_NAMES = ["..", ".", "", "a/b", "/abs", "../../x", "a\\..\\b", "nul\0", "x" * 300, ".holdfast"]


class Anything:
    """An `Origin`: nodes from a folder, and the payload under whatever name a file is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = Folder(folder)

    async def answer(self, request: Request) -> Reply:
        if request.path.startswith((".holdfast/blocks/", "ipfs/")):
            return await self._folder.answer(request)
        return Reply(200, (DATA,))


def _directory(links: list[PBLink]) -> Block:
    return Block.encode(
        DAG_PB, encode(PBNode(tuple(links), unixfs.encode(unixfs.UnixFSNode(unixfs.NodeType.DIRECTORY))))
    )


def _serve(folder: Path, blocks: list[Block]) -> FaultServer:
    place = folder / ".holdfast/blocks"
    place.mkdir(parents=True, exist_ok=True)
    for block in blocks:
        (place / str(block.cid)).write_bytes(block.data)
    return FaultServer(Anything(folder))


def _nothing_but_nodes(dest: Path, outcome: Outcome) -> None:
    """`dest` has no file of the tree, and getting there took little."""
    if dest.exists():
        check_copy(dest, {}, complete=False)
    assert not any(path.is_symlink() for path in dest.rglob("*"))
    assert outcome.peak_bytes < PEAK_BYTES
    assert outcome.seconds < END_S


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: repr(name[:12]))
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_tree_with_a_hostile_name_is_refused_and_nothing_is_written(
    victim: Victim, tmp_path: Path, outside: Path, name: str, depth: int, kind: str
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
    with _serve(tmp_path / "origin", blocks) as server:
        outcome = victim.get(top.cid, tmp_path / "dest", [server.url], deadline_s=3)
    assert outcome.error == "FormatError", outcome
    assert all(name.startswith(".holdfast/blocks/") for name in files_of(tmp_path / "dest"))
    _nothing_but_nodes(tmp_path / "dest", outcome)


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"\xed\xa0\x80"])
def test_a_name_that_is_no_utf8_is_refused(victim: Victim, tmp_path: Path, outside: Path, raw: bytes) -> None:
    good = _directory([PBLink(CID.of(0x55, DATA), "@" * len(raw), len(DATA))])
    data = good.data.replace(b"@" * len(raw), raw)
    top = Block.encode(DAG_PB, data)
    with _serve(tmp_path / "origin", [top]) as server:
        outcome = victim.get(top.cid, tmp_path / "dest", [server.url], deadline_s=3)
    assert outcome.error == "FormatError", outcome
    _nothing_but_nodes(tmp_path / "dest", outcome)


def test_two_entries_of_one_name_are_refused(victim: Victim, tmp_path: Path, outside: Path) -> None:
    inner = _directory([PBLink(CID.of(0x55, DATA), "x", len(DATA))])
    top = _directory([PBLink(CID.of(0x55, DATA), "a", len(DATA)), PBLink(inner.cid, "a", 100)])
    with _serve(tmp_path / "origin", [top, inner]) as server:
        outcome = victim.get(top.cid, tmp_path / "dest", [server.url], deadline_s=3)
    assert outcome.error == "FormatError", outcome
    assert "two entries" in outcome.message
    _nothing_but_nodes(tmp_path / "dest", outcome)


def test_a_symlink_in_a_tree_is_named_and_not_made(victim: Victim, tmp_path: Path, outside: Path) -> None:
    target = unixfs.encode(unixfs.UnixFSNode(unixfs.NodeType.SYMLINK, os.fsencode(outside)))
    link = Block.encode(DAG_PB, encode(PBNode((), target)))
    top = _directory([PBLink(link.cid, "data", 10)])
    with _serve(tmp_path / "origin", [top, link]) as server:
        outcome = victim.get(top.cid, tmp_path / "dest", [server.url], deadline_s=3)
    assert outcome.value == {"files": 0, "links": [f"data → {outside}"]}
    _nothing_but_nodes(tmp_path / "dest", outcome)


@pytest.mark.parametrize("claim", [0, 5, 1 << 40, (1 << 63) - 1])
def test_a_link_that_lies_about_its_size_costs_nothing(
    victim: Victim, tmp_path: Path, outside: Path, claim: int
) -> None:
    top = _directory([PBLink(CID.of(0x55, DATA), "x.bin", claim)])
    with _serve(tmp_path / "origin", [top]) as server:
        outcome = victim.get(top.cid, tmp_path / "dest", [server.url], deadline_s=2)
    assert outcome.error in ("UnavailableError", "IntegrityError", "FormatError"), outcome
    assert sum(path.stat().st_size for path in (tmp_path / "dest").rglob("*") if path.is_file()) < 4096
    assert outcome.peak_bytes < PEAK_BYTES
    assert outcome.seconds < END_S


@pytest.mark.parametrize("path", ["../x", "/x", "data/../../x", "data\\\\x", "data//x", "data/\\u0000"])
def test_a_manifest_with_a_hostile_path_is_refused(victim: Victim, tmp_path: Path, outside: Path, path: str) -> None:
    (tmp_path / "src").mkdir()
    with tarfile.open(tmp_path / "src/s.tar", "w") as tar:
        member = tarfile.TarInfo("a.txt")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"a"))
    publish_mirror(tmp_path, tmp_path / "src")
    files = {name: data for name, data in files_of(tmp_path / "mirror").items() if not name.startswith(".holdfast/")}
    page = files["manifest/00000.jsonl"].decode()
    assert '"path":"data/s.tar"' in page
    files["manifest/00000.jsonl"] = page.replace('"path":"data/s.tar"', f'"path":"{path}"').encode()
    root = mirror_folder(tmp_path / "origin", files)
    with FaultServer(tmp_path / "origin") as server:
        trained = victim.train(root, [server.url])
        chosen = victim.get(root, tmp_path / "dest", [server.url], options={"partition": "default"})
        for outcome in (trained, chosen):
            assert outcome.error == "FormatError", outcome
            assert "path" in outcome.message
        assert not set(files_of(tmp_path / "dest")) & {"data/s.tar"}
        check_copy(tmp_path / "dest", files, complete=False)
        whole = victim.get(root, tmp_path / "dest", [server.url])
    assert whole.error == "", "the tree itself is harmless"
    check_copy(tmp_path / "dest", files, complete=True)
    for outcome in (trained, chosen, whole):
        assert outcome.peak_bytes < PEAK_BYTES
        assert outcome.seconds < END_S

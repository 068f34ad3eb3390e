"""T1: a source sends wrong bytes. They are dropped before use, the sender is named, others heal it."""

import json
import random
from pathlib import Path

import pytest

from holdfast.storage.errors import IntegrityError
from holdfast.storage.get import get
from support.mirror_server import MirrorServer, Reply, Script
from support.trees import LEAF, mirror_folder

FILES = {"data/a.bin": random.Random(7).randbytes(10 * LEAF + 77), "data/b.bin": random.Random(8).randbytes(3 * LEAF)}


def _one_bit(path: str, reply: Reply) -> Reply | None:
    if path.startswith("data/") and reply.body:
        at = len(reply.body) // 2
        reply.body = reply.body[:at] + bytes([reply.body[at] ^ 1]) + reply.body[at + 1 :]
    return reply


def _all_other(path: str, reply: Reply) -> Reply | None:
    if path.startswith("data/"):
        reply.body = bytes(len(reply.body))
    return reply


def _swapped_leaves(path: str, reply: Reply) -> Reply | None:
    if path.startswith("data/") and len(reply.body) >= 2 * LEAF:
        reply.body = reply.body[LEAF : 2 * LEAF] + reply.body[:LEAF] + reply.body[2 * LEAF :]
    return reply


def _other_file(path: str, reply: Reply) -> Reply | None:
    if path.startswith("data/"):
        other = FILES["data/b.bin" if path.endswith("a.bin") else "data/a.bin"]
        reply.body = (other * 8)[: len(reply.body)]
    return reply


def _wrong_node(path: str, reply: Reply) -> Reply | None:
    if ".holdfast/blocks" in path and reply.body:
        reply.body = reply.body[:-1] + bytes([reply.body[-1] ^ 0x80])
    return reply


LIES = {
    "one bit": _one_bit, "all of it": _all_other, "leaves swapped": _swapped_leaves, "another file": _other_file,
    "a node": _wrong_node,
}  # fmt: skip


def _plain(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and ".holdfast" not in p.parts
    }


@pytest.mark.parametrize("liar", range(3))
@pytest.mark.parametrize("lie", LIES)
def test_any_one_of_three_lying_changes_nothing(tmp_path: Path, liar: int, lie: str) -> None:
    root = mirror_folder(tmp_path / "origin", FILES)
    scripts: list[Script | None] = [None, None, None]
    scripts[liar] = LIES[lie]
    servers = [MirrorServer(tmp_path / "origin", script) for script in scripts]
    with servers[0], servers[1], servers[2]:
        result = get(str(root), tmp_path / "copy", sources=[server.url for server in servers])
        assert _plain(tmp_path / "copy") == FILES
        for source in result.sources:
            lied = source.url == servers[liar].url
            assert source.wrong == 0 or lied, "nobody else is blamed"
            assert (source.state == "demoted") == (source.wrong > 0)


@pytest.mark.parametrize("lie", LIES)
def test_a_liar_alone_ends_in_a_typed_error_and_leaves_nothing_wrong_on_disk(
    tmp_path: Path, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = mirror_folder(tmp_path / "origin", FILES)
    with MirrorServer(tmp_path / "origin", LIES[lie]) as server:
        with pytest.raises(IntegrityError, match="WRONG_BYTES"):
            get(str(root), tmp_path / "copy", sources=[server.url], deadline_s=5)
        url = server.url
    for path, data in _plain(tmp_path / "copy").items():
        assert data == FILES[path], "a file is there whole and right, or not at all"
    records = [json.loads(path.read_text()) for path in (tmp_path / "cache").rglob("evidence/*.json")]
    assert records, "the lie is kept as evidence"
    for record in records:
        assert record["url"] == url
        assert record["hashes_to"] != record["cid"]


def test_three_sources_with_one_different_rotten_leaf_each_complete_a_run(tmp_path: Path) -> None:
    root = mirror_folder(tmp_path / "origin", FILES)

    def rotten(leaf: int) -> Script:
        def script(path: str, reply: Reply) -> Reply | None:
            if path == "data/a.bin":
                start = int(reply.headers.get("Content-Range", "bytes 0-").split()[1].split("-")[0])
                at = leaf * LEAF + 5 - start
                if 0 <= at < len(reply.body):
                    reply.body = reply.body[:at] + bytes([reply.body[at] ^ 1]) + reply.body[at + 1 :]
            return reply

        return script

    servers = [MirrorServer(tmp_path / "origin", rotten(leaf)) for leaf in (1, 4, 8)]
    with servers[0], servers[1], servers[2]:
        get(str(root), tmp_path / "copy", sources=[server.url for server in servers])
    assert _plain(tmp_path / "copy") == FILES

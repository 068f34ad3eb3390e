"""Versions of a dataset: what is new, what is shared, and the history of a name."""

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli.conftest import Done

from support.running_node import RunningNode

Command = Callable[..., Done]
LEAF = 16 << 10


@pytest.fixture
def versions(command: Command, tmp_path: Path) -> tuple[Path, str, str]:
    """A repository with two versions: a file appended to, one new, one gone, two as they were."""
    source = tmp_path / "src"
    source.mkdir()
    for name in ("a", "b", "c", "d"):
        (source / f"{name}.bin").write_bytes(name.encode() * 10 * LEAF)
    options = ("--name", "set", "--repo", tmp_path / "repo", "--format", "tokens", "--dtype", "uint16", "--json")
    first = command("publish", source, "--leaf-size", "16KiB", *options)
    assert first.code == 0, first
    with (source / "a.bin").open("ab") as file:
        file.write(b"z" * LEAF)
    (source / "d.bin").unlink()
    (source / "e.bin").write_bytes(b"e" * LEAF + b"f" * LEAF)
    second = command("publish", source, "--leaf-size", "16KiB", *options)
    assert second.code == 0, second
    assert second.json()["new_bytes"] == 13 * LEAF
    return tmp_path / "repo", first.json()["root"], second.json()["root"]


def test_diff_names_files_and_counts_new_leaves(command: Command, versions: tuple[Path, str, str]) -> None:
    repo, first, second = versions
    found = command("diff", first, second, "--repo", repo, "--json").json()
    data = {one["path"]: one for one in found["changes"] if one["path"].startswith("data/")}
    assert {path: (one["kind"], one["bytes"], one["new_bytes"]) for path, one in data.items()} == {
        "data/a.bin": ("changed", 11 * LEAF, LEAF),
        "data/d.bin": ("removed", 10 * LEAF, 0),
        "data/e.bin": ("added", 2 * LEAF, 2 * LEAF),
    }
    assert found["new_bytes"] - 3 * LEAF < 10_000, "and the small files"
    assert found["unchanged"] >= 2
    same = command("diff", second, second, "--repo", repo, "--json").json()
    assert (same["changes"], same["new_bytes"]) == ([], 0)
    words = command("diff", first, second, "--repo", repo)
    assert "~ data/a.bin  176KiB, 16KiB of it new" in words.out, words.out
    assert "- data/d.bin" in words.out


def test_diff_counts_shards_that_only_have_another_number(command: Command, tmp_path: Path) -> None:
    source, numbers = tmp_path / "src", random.Random(5)
    source.mkdir()
    for number in range(200):
        (source / f"s{number:03d}.jpg").write_bytes(numbers.randbytes(3000))
    options = ("--name", "set", "--repo", tmp_path / "repo", "--leaf-size", "16KiB", "--shard-size", "64KiB", "--json")
    first = command("publish", source, *options).json()
    for number in range(10):
        (source / f"a{number}.jpg").write_bytes(numbers.randbytes(3000))  # before all others
    (source / "s199.jpg").unlink()
    second = command("publish", source, *options).json()
    assert second["shards"] > first["shards"]
    found = command("diff", first["root"], second["root"], "--repo", tmp_path / "repo", "--json").json()
    shards = [one for one in found["changes"] if one["path"].startswith("data/")]
    kinds = Counter(one["kind"] for one in shards)
    assert kinds["moved"] >= first["shards"] - 3
    assert sum(one["new_bytes"] for one in shards) <= second["new_bytes"] < 4 * 64 * 1024
    gone = [one for one in shards if one["kind"] in ("removed", "changed")]
    assert 1 <= len(gone) <= 5, shards
    words = command("diff", first["root"], second["root"], "--repo", tmp_path / "repo").out
    assert len(words.splitlines()) < 20
    assert "more under another name" in words


def test_diff_compares_a_file_with_what_was_in_its_place(command: Command, tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    (source / "a.bin").write_bytes(b"x" * 10 * LEAF)
    options = ("--name", "set", "--repo", tmp_path / "repo", "--format", "tokens", "--dtype", "uint16", "--json")
    first = command("publish", source, "--leaf-size", "16KiB", *options).json()
    (source / "b.bin").write_bytes(b"x" * 10 * LEAF)
    (source / "a.bin").write_bytes(b"x" * 10 * LEAF + b"y" * LEAF)
    second = command("publish", source, "--leaf-size", "16KiB", *options).json()
    found = command("diff", first["root"], second["root"], "--repo", tmp_path / "repo", "--json").json()
    data = {one["path"]: (one["kind"], one["new_bytes"]) for one in found["changes"] if one["path"].startswith("data/")}
    assert data == {"data/a.bin": ("changed", LEAF), "data/b.bin": ("moved", 0)}


def test_diff_reads_no_leaf(command: Command, versions: tuple[Path, str, str], tmp_path: Path) -> None:
    repo, first, second = versions
    shutil.copytree(repo, tmp_path / "copy")
    with RunningNode(tmp_path / "copy") as node:
        answer = command("diff", first, second, "--from", node.url, "--json")
        assert answer.code == 0, answer
        metrics = node.get("/metrics").body.decode()
    sent = sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("holdfast_sent_bytes"))
    assert sent < 100_000, metrics


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    with RunningNode(tmp_path / "peer") as node:
        yield node


def test_the_log_of_a_name(
    command: Command, versions: tuple[Path, str, str], node: RunningNode, tmp_path: Path
) -> None:
    _, first, second = versions
    env = {"XDG_DATA_HOME": str(tmp_path / "data"), "HOLDFAST_REPO": str(tmp_path / "keys")}
    name = command("key", "gen", "set", "--json", **env).json()["name"]
    for root in (first, second):
        command("name", "publish", "set", root, "--to", node.url, **env)
    found = command("name", "log", "set", "--json", **env).json()["versions"]
    assert [(one["sequence"], one["value"]) for one in found] == [(1, f"/ipfs/{second}"), (0, f"/ipfs/{first}")]
    assert found[0]["parent"] == f"/ipfs/{first}"
    reader = {"XDG_DATA_HOME": str(tmp_path / "reader")}
    assert command("name", "log", name, **reader).out.strip() == "(none)"
    asked = command("name", "log", name, "--from", node.url, **reader)
    assert f"/ipfs/{second}" in asked.out
    assert f"its parent, /ipfs/{first}, was not seen here" in asked.out

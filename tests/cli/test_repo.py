"""`repo stat|verify`, `gc` and `pin` as a person types them."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from cli.conftest import Dataset, Done

from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID
from support.ageing import age
from support.dags import Dag
from support.running_node import RunningNode

Command = Callable[..., Done]


@pytest.fixture
def repo(dataset: Dataset, tmp_path: Path) -> Path:
    shutil.copytree(dataset.repo, tmp_path / "repo")
    return tmp_path / "repo"


def test_stat_says_what_is_there(command: Command, dataset: Dataset) -> None:
    found = command("repo", "stat", "--repo", dataset.repo, "--json").json()
    assert (found["names"], found["pins"], found["stray_files"]) == (1, {"pinned": 1}, 0)
    assert found["owned_files"] > 3
    assert found["owned_bytes"] > dataset.published["bytes"]
    words = command("repo", "stat", "--repo", dataset.repo)
    assert words.code == 0
    assert "names: 1; pins: 1 pinned" in words.out


def test_verify_names_a_flipped_bit_and_exits_with_1(command: Command, dataset: Dataset, tmp_path: Path) -> None:
    good = command("repo", "verify", "--repo", dataset.repo, "--json")
    assert good.code == 0
    assert good.json()["ok"] is True
    target = min((dataset.repo / "files").glob("*.parquet"))
    data = target.read_bytes()
    about = target.stat()
    target.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    try:
        bad = command("repo", "verify", "--repo", dataset.repo, "--json")
        assert bad.code == 1
        (fault,) = bad.json()["faults"]
        assert fault["file"] == str(target)
        assert fault["offset"] == 0
        words = command("repo", "verify", "--repo", dataset.repo)
        assert words.code == 1
        assert str(target) in words.out
        assert fault["cid"] in words.out
    finally:
        target.write_bytes(data)
        os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_unpinned_data_is_freed_by_gc_and_said_so(command: Command, repo: Path) -> None:
    listed = command("pin", "ls", "--repo", repo, "--json").json()["pins"]
    assert [(pin["name"], pin["status"]) for pin in listed] == [("mini", "pinned")]
    assert command("gc", "--repo", repo, "--json").json()["bytes"] == 0
    command("pin", "rm", "nobody", "--repo", repo, "--json").failed(2, "config", "no pin 'nobody'", "pin ls")
    removed = command("pin", "rm", "mini", "--repo", repo, "--json").json()["removed"]
    assert [pin["name"] for pin in removed] == ["mini"]
    with DiskStore(repo).open() as store:
        age(store)
    promised = command("gc", "--dry-run", "--repo", repo, "--json").json()
    freed = command("gc", "--repo", repo, "--json").json()
    assert freed["bytes"] == promised["bytes"] > 10_000
    found = command("repo", "stat", "--repo", repo, "--json").json()
    assert (found["owned_files"], found["nodes"], found["leaves"], found["pins"]) == (0, 0, 0, {})


def test_an_unpinned_root_can_be_pinned_again_while_it_is_there(command: Command, repo: Path, dataset: Dataset) -> None:
    assert command("pin", "rm", dataset.root, "--repo", repo).code == 0
    added = command("pin", "add", dataset.uri, "--name", "again", "--repo", repo, "--json").json()
    assert (added["cid"], added["status"]) == (dataset.root, "pinned")
    with DiskStore(repo).open() as store:
        age(store)
    assert command("gc", "--repo", repo, "--json").json()["files"] == 0
    absent = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    command("pin", "add", absent, "--repo", repo, "--json").failed(2, "store", "is not complete in", "--to URL")


def test_an_empty_argument_names_no_pin(command: Command, repo: Path, dataset: Dataset) -> None:
    command("pin", "add", dataset.uri, "--repo", repo)
    for what in ("rm", "status"):
        command("pin", what, "", "--repo", repo, "--json").failed(2, "config", "names no pin", "pin ls")
    assert sorted(pin["name"] for pin in command("pin", "ls", "--repo", repo, "--json").json()["pins"]) == ["", "mini"]


def test_a_pin_is_found_by_either_version_of_its_cid(command: Command, repo: Path) -> None:
    with DiskStore(repo).open() as store:
        root = Dag(store).directory(empty=Dag(store).raw(b""))
    old = str(CID(0, root.codec, root.multihash))
    for added, removed in ((old, old), (old, root), (root, old), (old, f"ipfs://{root}")):
        assert command("pin", "add", added, "--repo", repo).code == 0
        done = command("pin", "rm", removed, "--repo", repo, "--json")
        assert [pin["cid"] for pin in done.json()["removed"]] == [str(root)], done


def test_pinning_what_was_deleted_is_an_error_and_leaves_no_pin(command: Command, repo: Path, dataset: Dataset) -> None:
    min((repo / "files").glob("*.parquet")).unlink()
    command("pin", "add", dataset.uri, "--repo", repo, "--json").failed(2, "store", "is not complete in", "--to URL")
    assert [pin["name"] for pin in command("pin", "ls", "--repo", repo, "--json").json()["pins"]] == ["mini"]


def test_a_peer_is_asked_to_pin_to_list_and_to_forget(command: Command, dataset: Dataset, tmp_path: Path) -> None:
    with RunningNode(tmp_path / "peer") as node, RunningNode(dataset.repo) as origin:
        to = ("--to", node.url)
        command("pin", "add", dataset.root, "--origin", origin.url, "--json").failed(
            2, "config", "--origin goes with --to"
        )
        done = command("pin", "add", dataset.root, "--name", "n", *to, "--wait", "1s", "--json")
        assert done.code == 1, "no origin: failed, and said so"
        assert command("pin", "rm", "n", *to).code == 0
        assert command("pin", "ls", *to).out == "(none)\n"


def test_a_repository_may_be_copied_and_verified_back_to_full_speed(command: Command, repo: Path) -> None:
    with DiskStore(repo).open() as store:
        file = store.catalog._files("owned = ?", 1)[0]
        assert file.path.is_relative_to(repo)
        assert store.open_file(file.cid) is None, "its stamp is not that of its last hashing"
        assert store.get(file.cid)
    assert command("repo", "verify", "--repo", repo).code == 0
    with DiskStore(repo).open() as store:
        opened = store.open_file(file.cid)
        assert opened is not None
        opened.close()


def test_verify_names_a_damaged_catalogue_and_goes_on_or_says_what_to_do(command: Command, repo: Path) -> None:
    path = repo / "catalog.db"
    data = path.read_bytes()
    with closing(sqlite3.connect(path)) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'pins'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    path.write_bytes(data.replace(b"pinned", b"pinnee", 1))
    odd = command("repo", "verify", "--repo", repo, "--json")
    assert odd.code == 1
    (fault,) = odd.json()["faults"]
    assert fault["file"] == str(path)
    assert "differs from its second copy" in fault["reason"]
    path.write_bytes(data[: (page - 1) * size] + bytes(size) + data[page * size :])
    torn = command("repo", "verify", "--repo", repo, "--json")
    assert torn.code == 1
    assert {str(path)} == {fault["file"] for fault in torn.json()["faults"]}
    assert "Traceback" not in torn.err
    path.write_bytes(bytes(len(data)))
    command("repo", "verify", "--repo", repo, "--json").failed(2, "store", "catalog.db", "backup")

"""`publish --to` a peer, a Kubo and an IPFS Cluster at once, by the command line; and what is read back from each."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import Done

from holdfast.storage.cid import CID
from holdfast.storage.sources.netguard import NetGuard
from support.cluster import ClusterPeer
from support.kubo import Kubo
from support.running_node import RunningNode

Command = Callable[..., Done]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[RunningNode]:
    with RunningNode(tmp_path / "peer", guard=NetGuard.parse(["127.0.0.0/8"])) as node:
        yield node


@pytest.fixture
def behind(tmp_path: Path, peer: RunningNode) -> Iterator[Kubo]:
    """The Kubo of the cluster, which finds things by asking the peer."""
    config = {"Routing.Type": "delegated", "Provide.Enabled": False, "Routing.DelegatedRouters": [peer.url]}
    with Kubo(tmp_path / "behind", config) as kubo:
        yield kubo


@pytest.fixture
def roster(tmp_path: Path, kubo: Kubo, peer: RunningNode, behind: Kubo) -> Iterator[Path]:
    with ClusterPeer(tmp_path / "cluster", behind, "11" * 32) as cluster:
        entries = [
            {"name": "alice", "kind": "peer", "url": peer.url},
            {"name": "kubo", "kind": "kubo", "url": kubo.api, "gateway": kubo.gateway},
            {"name": "cluster", "kind": "cluster", "url": cluster.url, "gateway": behind.gateway},
        ]
        lines = ["format = 1"]
        for entry in entries:
            lines += ["[[provider]]", *(f"{key} = {json.dumps(value)}" for key, value in entry.items())]
        path = tmp_path / "roster.toml"
        path.write_text("\n".join(lines))
        yield path


def by_provider(document: dict[str, Any]) -> dict[str, Any]:
    return {one["provider"]: one for one in document["pins"]}


def test_a_folder_is_published_to_all_kinds_at_once(command: Command, roster: Path, kubo: Kubo, tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    for number in range(9):
        (source / f"{number}.jpg").write_bytes(bytes([number]) * 400_000)
    repo = ("--repo", tmp_path / "repo")
    done = command("publish", source, "--name", "set", *repo, "--to", roster, "--json")
    assert done.code == 0, done
    pins = by_provider(done.json())
    assert {name: (one["state"], one["leaves"]) for name, one in pins.items()} == {
        "alice": ("pinned", 8), "kubo": ("pinned", 8), "cluster": ("pinned", 8),
    }  # fmt: skip
    root = CID.parse(done.json()["root"])
    assert str(root) in kubo.text("pin", "ls", "--type=recursive", "--names")
    assert "set" in kubo.text("pin", "ls", "--type=recursive", "--names")
    state = command("pin", "status", root, "--to", roster, *repo, "--json").json()
    assert by_provider(state).keys() == pins.keys()
    assert all(one["proven"] for one in state["pins"])
    counted = command("pin", "status", *repo, "--json").json()["providers"]
    assert {(one["provider"], one["roots"], one["proven"]) for one in counted} == {
        ("alice", 1, 1), ("kubo", 1, 1), ("cluster", 1, 1),
    }  # fmt: skip
    again = command("pin", "add", root, "--name", "set", "--to", roster, *repo, "--json")
    assert again.code == 0, again
    got = command("get", root, tmp_path / "copy", "--from", kubo.gateway, "--json")
    assert got.code == 0, got


def test_a_kubo_that_is_down_is_one_state_and_the_rest_go_on(
    command: Command, roster: Path, behind: Kubo, tmp_path: Path
) -> None:
    text = roster.read_text() + '\n[[provider]]\nname = "down"\nkind = "kubo"\nurl = "http://127.0.0.1:9"\n'
    roster.write_text(text)
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.txt").write_text("text\n" * 30_000)
    done = command("publish", tmp_path / "src", "--name", "s", "--repo", tmp_path / "repo", "--to", roster, "--json")
    assert done.code == 1, done
    pins = by_provider(done.json())
    assert {name: one["state"] for name, one in pins.items()} == {
        "alice": "pinned", "kubo": "pinned", "cluster": "pinned", "down": "failed",
    }  # fmt: skip
    assert "cannot be reached" in pins["down"]["message"]


def test_a_new_version_sends_what_is_new_and_all_if_the_old_one_is_gone(
    command: Command, kubo: Kubo, tmp_path: Path
) -> None:
    numbers, source = random.Random(8), tmp_path / "src"
    source.mkdir()
    for number in range(400):
        (source / f"s{number:03d}.jpg").write_bytes(numbers.randbytes(10_000))
    roster = tmp_path / "roster.toml"
    roster.write_text(f'[[provider]]\nname = "k"\nkind = "kubo"\nurl = "{kubo.api}"\ngateway = "{kubo.gateway}"\n')
    options = ("--name", "versions", "--repo", tmp_path / "repo", "--shard-size", "256KiB", "--to", roster, "--json")

    def publish() -> tuple[str, int]:
        done = command("publish", source, *options)
        assert done.code == 0, done
        (pin,) = done.json()["pins"]
        assert (pin["state"], pin["leaves"]) == ("pinned", 8)
        return done.json()["root"], pin["transferred"]

    first, everything = publish()
    assert everything > 4_000_000
    for number in range(4):
        (source / f"t{number}.jpg").write_bytes(numbers.randbytes(10_000))
    second, sent = publish()
    assert 40_000 < sent < 0.25 * everything, "the last shard, what was appended, and the small files"
    kubo.run("pin", "rm", second)
    kubo.run("pin", "rm", first)
    kubo.run("repo", "gc")
    (source / "u.jpg").write_bytes(numbers.randbytes(10_000))
    _, sent = publish()
    assert sent > everything, "nothing is there any more that could be left out"

"""A dataset of ours through real Kubos: the same CIDs, by HTTP from our peer, by Bitswap from each other, and back."""

import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli.conftest import Done

from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.car_file import export_car
from holdfast.storage.cid import CID
from support.kubo import DAEMONS, Kubo
from support.running_node import RunningNode

Command = Callable[..., Done]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    for name, size in {"a/0.jpg": 3_000_000, "a/1.jpg": 1 << 20, "b/2.jpg": 1, "b/ä 3.jpg": 70_000}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(name).randbytes(size))
    return folder


@pytest.fixture
def peer(source: Path, tmp_path: Path) -> Iterator[tuple[RunningNode, CID]]:
    root = publish(source, name="set", repo=tmp_path / "repo").root
    with RunningNode(tmp_path / "repo") as node:
        yield node, root


def test_http_from_our_peer_and_bitswap_from_each_other(
    peer: tuple[RunningNode, CID], command: Command, tmp_path: Path
) -> None:
    node, root = peer
    ours = {"Routing.Type": "delegated", "Provide.Enabled": False, "Routing.DelegatedRouters": [node.url]}
    alone = {"Routing.Type": "none", "Provide.Enabled": False}
    with Kubo(tmp_path / "one", ours) as one, Kubo(tmp_path / "two", alone) as two:
        one.run("pin", "add", root)  # by HTTP: our peer speaks nothing else
        two.run("swarm", "connect", *[a for a in one.json("id")["Addresses"] if "/tcp/" in a][:1])
        two.run("get", "-o", tmp_path / "got", f"/ipfs/{root}")  # by Bitswap: it knows nobody else
        done = command("get", root, tmp_path / "ours", "--from", node.url, "--json")
        assert done.code == 0, done
        want = {name: data for name, data in files_of(tmp_path / "ours").items() if not name.startswith(".holdfast/")}
        assert files_of(tmp_path / "got") == want
        for name, data in want.items():
            assert two.run("cat", f"/ipfs/{root}/{name}") == data
        both = command("get", root, tmp_path / "back", "--from", one.gateway, "--from", two.gateway, "--json")
        assert both.code == 0, both
        assert all(found["wrong"] == 0 for found in both.json()["sources"])
        assert files_of(tmp_path / "back") == files_of(tmp_path / "ours")


def test_kubo_gives_the_same_cids_for_files_and_folders(
    kubo: Kubo, peer: tuple[RunningNode, CID], source: Path, tmp_path: Path, command: Command
) -> None:
    node, root = peer
    added = kubo.text("add", "-r", "-Q", "--pin=false", source)
    ours = command("cid", source, "--json").json()
    assert added == ours["cid"]
    export_car(node.store, root, tmp_path / "set.car")
    said = kubo.text("dag", "import", tmp_path / "set.car")
    assert str(root) in said
    exported = kubo.run("dag", "export", "--progress=false", root)
    (tmp_path / "theirs.car").write_bytes(exported)
    done = command("car", "import", tmp_path / "theirs.car", "--repo", tmp_path / "fresh", "--json")
    assert done.code == 0, done


def test_a_loader_streams_from_the_gateways_of_two_kubos(peer: tuple[RunningNode, CID], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    import holdfast

    node, root = peer
    config = {"Routing.Type": "delegated", "Provide.Enabled": False, "Routing.DelegatedRouters": [node.url]}
    with Kubo(tmp_path / "one", config) as one, Kubo(tmp_path / "two", config) as two:
        one.run("pin", "add", root)
        two.run("pin", "add", root)
        dataset = holdfast.StreamingDataset(str(root), sources=[one.gateway, two.gateway], cache=tmp_path / "cache")
        samples = {sample["__key__"] for sample in dataset}
        stats = dataset.stats()
        dataset.close()
    assert len(samples) == 4
    assert all(source.wrong == 0 for source in stats.sources)


def test_the_daemons_are_the_versions_that_were_built() -> None:
    for name, version in (("ipfs", "0.43.0"), ("ipfs-cluster-service", "1.1.6")):
        said = subprocess.run([DAEMONS / name, "--version"], capture_output=True, text=True, check=True, timeout=30)
        assert version in said.stdout

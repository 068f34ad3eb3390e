"""The contract of pin targets, kept by a real IPFS Cluster over a real Kubo."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from contract.pin_target import PinTargetContract

from holdfast.configs.roster import Provider
from holdfast.storage.errors import ConfigError, UnreachableError
from holdfast.storage.pins.cluster import ClusterPins
from holdfast.storage.pins.pin import Pin, Status
from holdfast.storage.pins.wait import Requested, wait
from support.cluster import ClusterPeer
from support.kubo import Kubo
from support.running_node import RunningNode, publish_folder

SECRET = "00" * 32


class TestCluster(PinTargetContract):
    @pytest.fixture
    def target(self, origin: RunningNode, tmp_path: Path) -> Iterator[ClusterPins]:
        config = {"Routing.Type": "delegated", "Provide.Enabled": False, "Routing.DelegatedRouters": [origin.url]}
        with Kubo(tmp_path / "kubo", config) as kubo, ClusterPeer(tmp_path / "cluster", kubo, SECRET) as peer:
            yield ClusterPins(Provider(name="cluster", kind="cluster", url=peer.url))


def test_replicas_are_at_peers_of_the_tags(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "origin") as origin, ExitStack() as stack:
        root = publish_folder(origin.store, tmp_path / "src", {"a": random.Random(3).randbytes(90_000)})
        config = {"Routing.Type": "delegated", "Provide.Enabled": False, "Routing.DelegatedRouters": [origin.url]}
        kubos = [stack.enter_context(Kubo(tmp_path / name, config)) for name in ("a", "b")]
        peers: list[ClusterPeer] = []
        for kubo, region in zip(kubos, ("eu", "us"), strict=True):
            folder, first = tmp_path / f"cluster-{region}", peers[0] if peers else None
            peer = ClusterPeer(folder, kubo, SECRET, join=first, replicas=(1, 1), tags={"region": region})
            peers.append(stack.enter_context(peer))
        for region, keeper in (("us", kubos[1]), ("eu", kubos[0])):
            target = tagged(peers[0], region)
            pin = once_known(lambda target=target: target.add(root, "set", [origin.url]))
            (done,) = wait([Requested(target, pin)], 60)
            assert done.pin.status is Status.PINNED, done
            kept = [str(root) in kubo.text("pin", "ls", "--type=recursive") for kubo in kubos]
            assert kept == [kubo is keeper for kubo in kubos]
            target.rm(done.pin.requestid)
            gone = time.monotonic() + 30
            while str(root) in keeper.text("pin", "ls", "--type=recursive"):
                assert time.monotonic() < gone
        with pytest.raises(ConfigError, match=r"no peer of cluster is tagged region=mars"):
            tagged(peers[0], "mars").add(root, "set", [])


def tagged(peer: ClusterPeer, region: str) -> ClusterPins:
    return ClusterPins(Provider(name="cluster", kind="cluster", url=peer.url, tags={"region": region}))


def once_known(add: Callable[[], Pin]) -> Pin:
    """Peers tell each other of their tags, and of their free space, every other second."""
    limit = time.monotonic() + 30
    while True:
        try:
            return add()
        except (ConfigError, UnreachableError):
            if time.monotonic() > limit:
                raise
            time.sleep(0.1)

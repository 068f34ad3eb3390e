"""The contract of pin targets, kept by a real IPFS Cluster over a real Kubo."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.pin_target import PinTargetContract

from holdfast.configs.roster import Provider
from holdfast.storage.pins.cluster import ClusterPins
from support.cluster import ClusterPeer
from support.kubo import Kubo
from support.running_node import RunningNode

SECRET = "00" * 32


class TestCluster(PinTargetContract):
    @pytest.fixture
    def target(self, origin: RunningNode, tmp_path: Path) -> Iterator[ClusterPins]:
        config = {"Routing.Type": "delegated", "Provide.Enabled": False, "Routing.DelegatedRouters": [origin.url]}
        with Kubo(tmp_path / "kubo", config) as kubo, ClusterPeer(tmp_path / "cluster", kubo, SECRET) as peer:
            yield ClusterPins(Provider(name="cluster", kind="cluster", url=peer.url))

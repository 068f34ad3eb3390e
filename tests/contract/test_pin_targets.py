"""The contract of pin targets, kept by those that need no other program. Real daemons: tests/daemons."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.pin_target import PinTargetContract

from holdfast.configs.roster import Provider
from holdfast.storage.pins.pinning_service import PinningService
from holdfast.storage.sources.netguard import NetGuard
from support.running_node import RunningNode


class TestPeer(PinTargetContract):
    @pytest.fixture
    def target(self, tmp_path: Path) -> Iterator[PinningService]:
        guard = NetGuard.parse(["127.0.0.0/8"])
        with RunningNode(tmp_path / "peer", guard=guard, token=b"s3cret") as node:
            provider = Provider(name="alice", kind="peer", url=node.url, token_env="TOKEN")
            yield PinningService(provider, env={"TOKEN": "s3cret"})

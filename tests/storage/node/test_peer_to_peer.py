"""Peers as each other's origins, and as sources of `get`."""

import random
from pathlib import Path

from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.get import get
from holdfast.storage.sources.netguard import NetGuard
from support.running_node import RunningNode, publish_folder
from support.trees import LEAF

FILES = {
    "data/a.bin": random.Random(1).randbytes(1030 * LEAF + 5),  # two levels of nodes
    "data/b": b"small",
    "empty": b"",
} | {f"many/{number:04}": f"{number}".encode() for number in range(1200)}  # many small files


def test_a_dataset_goes_from_peer_to_peer_to_a_folder(tmp_path: Path) -> None:
    with DiskStore(tmp_path / "publisher").open() as store:
        root = publish_folder(store, tmp_path / "src", FILES)
    guard = NetGuard.parse(["127.0.0.0/8"])
    with RunningNode(tmp_path / "peer", guard=guard) as peer:
        with RunningNode(tmp_path / "publisher") as publisher:
            pin = peer.settled(peer.pin(root, publisher.url), 60)
            assert pin["status"] == "pinned", pin
        result = get(str(root), tmp_path / "copy", sources=[peer.url])
    assert result.sources[0].wrong == 0
    for path, data in FILES.items():
        assert (tmp_path / "copy" / path).read_bytes() == data
    assert len(list((tmp_path / "peer" / "leaves").iterdir())) < 100  # files enter the index in batches

"""Training by torch's DistributedDataParallel (gloo), 2 and 4 processes, while a source dies in the middle of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from holdfast.loaders.share import Share
from support.fetchers import wait_until_gone
from support.mirror_server import MirrorServer, Reply
from support.programs import answers

TRAIN = """
import hashlib, sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from holdfast import DataLoader
uri, cache, store, rank, world, workers, *urls = sys.argv[1:]
torch.manual_seed(0)
dist.init_process_group("gloo", init_method=f"file://{store}", rank=int(rank), world_size=int(world))
model = DistributedDataParallel(torch.nn.Linear(2, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

def collate(samples):
    features = torch.tensor([[len(sample["text"]) / 5000, sample["text"].count("=") / 200] for sample in samples])
    return [sample["__index__"] for sample in samples], features

loader = DataLoader(uri, batch_size=4, num_workers=int(workers), sources=urls, cache=cache, seed=4, collate_fn=collate)
seen = []
for epoch in range(2):
    loader.set_epoch(epoch)
    for indices, features in loader:
        loss = (model(features) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()  # waits for every rank: it would hang if one had a batch less
        optimizer.step()
        seen.append(indices)
weights = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()
loader.dataset.close()
dist.barrier()
dist.destroy_process_group()
answer([seen, weights])
"""


@pytest.mark.parametrize(("world", "workers"), [(2, 2), (4, 0)])
def test_ranks_stay_together_while_a_source_dies(
    world: int, workers: int, tmp_path: Path, publish_folder: Any, serve: Any, corpus_folder: Path
) -> None:
    published = publish_folder(corpus_folder, leaf_size=16384, shard_size=65536)
    died = threading.Event()

    def die(path: str, _: Reply) -> None:
        if path.startswith("data/") and not died.is_set():  # in the middle of its first answer to a reader
            died.set()
            threading.Thread(target=dying.__exit__, args=(None, None, None)).start()

    def follow(path: str, _: Reply) -> None:
        assert not path.startswith("data/") or died.wait(30), "the other one was never asked"

    steady, dying = serve(published.folder, follow), MirrorServer(published.folder, die)
    dying.__enter__()
    places = [published.uri, tmp_path / "cache", tmp_path / "store"]
    found = answers(TRAIN, [[*places, rank, world, workers, dying.url, steady.url] for rank in range(world)])
    assert died.is_set()
    assert len({weights for _, weights in found}) == 1, "the ranks have one model"
    each = Share(60, 0, world, tail="repeat").rank_samples
    for epoch in range(2):
        seen = [
            [index for batch in batches[epoch * len(batches) // 2 : (epoch + 1) * len(batches) // 2] for index in batch]
            for batches, _ in found
        ]
        assert [len(indices) for indices in seen] == [each] * world
        assert {index for indices in seen for index in indices} == set(range(60))
    wait_until_gone(tmp_path / "cache")

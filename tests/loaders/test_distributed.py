"""Rank and world size come from torch.distributed: real processes, gloo, one shared cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.mirror_server import MirrorServer
from support.programs import answers

ELASTIC = """
import json, sys
import torch.distributed as dist
from holdfast import DataLoader
uri, cache, store, rank, world, workers, state, steps, *urls = sys.argv[1:]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=int(rank), world_size=int(world))
loader = DataLoader(
    uri, batch_size=3, num_workers=int(workers), sources=urls, cache=cache, seed=4, tail="exact", collate_fn=list
)
if state:
    loader.load_state_dict(json.loads(state))
seen = []
for batch in loader:
    seen.append([sample["__index__"] for sample in batch])
    if len(seen) == int(steps):
        break
found = [seen, loader.state_dict()]
loader.dataset.close()
dist.barrier()
dist.destroy_process_group()
answer(found)
"""


def test_worlds_of_four_three_and_five_see_an_epoch_once_while_a_source_dies(
    tmp_path: Path, publish_folder: Any, serve: Any, corpus_folder: Path
) -> None:
    """DDP's own processes (gloo): four stop after two steps each, three go on for two more, then five, each world with
    other workers; one of two sources is gone after the first.
    """
    published = publish_folder(corpus_folder, leaf_size=16384, shard_size=65536)
    steady, dying = serve(published.folder), MirrorServer(published.folder)
    dying.__enter__()
    state, seen = "", list[int]()
    for number, (world, workers, steps) in enumerate(((4, 1, 2), (3, 2, 2), (5, 0, 0))):
        places = [published.uri, tmp_path / "cache", tmp_path / f"store{number}"]
        urls = [steady.url, dying.url]
        found = answers(ELASTIC, [[*places, rank, world, workers, state, steps, *urls] for rank in range(world)])
        assert not steps or all(saved == found[0][1] for _, saved in found), "any rank may save"
        state = json.dumps(found[0][1])
        for step in range(max(len(batches) for batches, _ in found)):
            seen += [sample for batches, _ in found for sample in (batches[step] if step < len(batches) else [])]
        if number == 0:
            dying.__exit__(None, None, None)
    assert sorted(seen) == list(range(60))
    assert json.loads(state)["start"] == 60


SCRIPT = """
import sys
import torch.distributed as dist
from holdfast import StreamingDataset
uri, url, cache, store, rank = sys.argv[1:]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=int(rank), world_size=2)
dataset = StreamingDataset(uri, sources=[url], cache=cache)
found = [dataset.rank, dataset.world_size, [sample["__index__"] for sample in dataset]]
dataset.close()
dist.barrier()
dist.destroy_process_group()
answer(found)
"""


def test_two_ranks_share_an_epoch(tmp_path: Path, publish_folder: Any, serve: Any, corpus_folder: Path) -> None:
    published = publish_folder(corpus_folder, leaf_size=16384, shard_size=65536)
    url = serve(published.folder).url
    places = [published.uri, url, tmp_path / "cache", tmp_path / "store"]
    found = answers(SCRIPT, [[*places, rank] for rank in range(2)])
    assert [(rank, world) for rank, world, _ in found] == [(0, 2), (1, 2)]
    assert sorted(found[0][2] + found[1][2]) == list(range(60))

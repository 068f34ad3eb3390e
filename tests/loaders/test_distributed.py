"""Rank and world size come from torch.distributed: real processes, gloo, one shared cache."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = """
import json, sys
import torch.distributed as dist
from holdfast import StreamingDataset
uri, url, cache, store, rank = sys.argv[1:]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=int(rank), world_size=2)
dataset = StreamingDataset(uri, sources=[url], cache=cache)
print(json.dumps([dataset.rank, dataset.world_size, [sample["__index__"] for sample in dataset]]))
dataset.close()
dist.barrier()
dist.destroy_process_group()
"""


def test_two_ranks_share_an_epoch(tmp_path: Path, publish_folder: Any, serve: Any, corpus_folder: Path) -> None:
    published = publish_folder(corpus_folder, leaf_size=16384, shard_size=65536)
    url = serve(published.folder).url
    arguments = [published.uri, url, str(tmp_path / "cache"), str(tmp_path / "store")]
    ranks = [
        subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments, str(rank)], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    answers = [json.loads(rank.communicate(timeout=100)[0].splitlines()[-1]) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    assert [(rank, world) for rank, world, _ in answers] == [(0, 2), (1, 2)]
    assert sorted(answers[0][2] + answers[1][2]) == list(range(60))

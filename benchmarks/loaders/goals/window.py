"""Bytes fetched for random samples out of 40 GB, beside the bytes asked for."""

from __future__ import annotations

import json
import subprocess
import sys

from ...goal import Goal
from ..synthetic import Synthetic, counts, serving
from .setting import Setting

_LEAF, _SHARD = 16 << 10, 64 << 20
_BYTES, _SAMPLES, _SEQ_LEN = 40_000_000_000, 30_720, 4096  # a sample: 8 KiB, and one token more
_BATCH = 64

_PROGRAM = """
import json, random, sys, time
import numpy as np
import holdfast
uri, url, cache, samples, seq_len, batch = sys.argv[1:]
dataset = holdfast.TokenDataset(uri, seq_len=int(seq_len), sources=[url], cache=cache)
numbers = random.Random(1).sample(range(len(dataset)), int(samples))
started, asked, wrong = time.perf_counter(), 0, 0
for at in range(0, len(numbers), int(batch)):
    part = numbers[at : at + int(batch)]
    for number, sample in zip(part, dataset.__getitems__(part)):
        tokens = sample["tokens"].numpy().astype("<u2")
        asked += 2 * int(seq_len)
        if number % 2 == 0:  # begins at the start of a leaf: its number
            wrong += int.from_bytes(tokens[:4].tobytes(), "little") != number // 2
print(json.dumps({"seconds": time.perf_counter() - started, "asked": asked, "wrong": wrong}))
"""


def goals(setting: Setting) -> list[Goal]:
    """Leaves of 16 KiB, read in batches of 64 through `TokenDataset`; nodes of the hash tree are counted apart."""
    samples = max(640, int(_SAMPLES * setting.scale))
    shards = max(2, int(_BYTES * setting.scale) // _SHARD)
    size = shards * _SHARD / 1e9
    setting.say(f"building {size:.1f} GB that lie nowhere …")
    dataset = Synthetic(shards, _SHARD, _LEAF).build()
    goal = Goal(
        f"{samples:,} random samples of 8 KiB out of {size:.1f} GB: bytes fetched / asked for", 3.6, at_least=False
    )
    cache = setting.work / "cache"
    with serving(dataset) as url:
        command = [
            sys.executable,
            "-c",
            _PROGRAM,
            dataset.uri,
            url,
            str(cache),
            str(samples),
            str(_SEQ_LEN),
            str(_BATCH),
        ]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=setting.work)
        said, sent = json.loads(done.stdout), counts(url)
    if said["wrong"]:
        raise SystemExit(f"{said['wrong']} samples are not what was asked for")
    goal.runs.append(sent["leaves"] / said["asked"])
    goal.detail = (
        f"{said['asked'] / 1e6:.0f} MB asked for, {sent['leaves'] / 1e6:.0f} MB of leaves in {sent['leaves requests']}"
        f" requests, {sent['nodes'] / 1e6:.1f} MB of nodes, {sent['documents'] / 1e6:.1f} MB of manifest;"
        f" {said['seconds']:.1f} s"
    )
    setting.say(f"{goal.name}: {goal.runs[-1]:.2f}: {goal.detail}")
    return [goal]

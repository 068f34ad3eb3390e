"""How well each loader shuffles: where neighbours of the file end up, and what batches of sorted data look like.

Samples of 100 KB, 640 to a shard, as in the table of images. Peers run their own shuffle on as many samples
in as many shards; only the samples themselves are small. Beside them: a random permutation.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from holdfast.loaders.order import Order
from holdfast.loaders.order_parameters import OrderParameters
from holdfast.storage.order_hints import BLOCK_BYTES, suggest_hints

from .environments import PEERS, child_environment, prepare, python_of
from .job import BATCH, IMAGE_BYTES, SEED
from .process import watch

COUNTS = (20_000, 200_000)
_PER_SHARD, _CLASSES = 640, 100
_RUN = (1 << 20) // IMAGE_BYTES  # samples of a run, as `publish` chooses it for tars
_ROOT = bytes.fromhex("01701220") + bytes(32)
_CAP_S = 300.0

Numbers = npt.NDArray[np.int64]


def measure(count: int, work: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """One line a loader."""
    prepare(PEERS)
    rows: list[dict[str, Any]] = [
        {"shuffle": "a random permutation", **quality(np.random.default_rng(SEED).permutation(count))},
        {"shuffle": "holdfast", **quality(_ours(count, BLOCK_BYTES))},
        {"shuffle": "holdfast, --shuffle-block 64MiB", **quality(_ours(count, 64 << 20))},
    ]
    for peer in PEERS:
        say(f"shuffling: {peer} …")
        order, problem = _order_of(peer, count, work / peer)
        rows.append({"shuffle": f"{peer}: {problem}"} if problem else {"shuffle": peer, **quality(order)})
    return rows


def quality(order: Numbers) -> dict[str, float]:
    """Figures of one order: the sample at each position.

    How far apart the neighbours i and i + 1 of the file are delivered, as a share of all samples (random: a third at
    the mean, 0.293 at the median), and how many of them in one batch; χ² of the classes of a batch over its degrees
    of freedom, of data that is sorted by class (random: 1); different shards a batch.
    """
    count = len(order)
    at = np.empty(count, np.int64)
    at[order] = np.arange(count)
    apart = np.abs(np.diff(at))
    batches = order[: count // BATCH * BATCH].reshape(-1, BATCH)
    expected = BATCH / _CLASSES
    chi2 = [((np.bincount(one, minlength=_CLASSES) - expected) ** 2).sum() for one in batches * _CLASSES // count]
    shards = [len(np.unique(batch // _PER_SHARD)) for batch in batches]
    return {
        "neighbours apart, mean": round(float(apart.mean() / count), 4),
        "median": round(float(np.median(apart) / count), 4),
        "neighbours in one batch": round(float((at[:-1] // BATCH == at[1:] // BATCH).mean()), 4),
        "χ² of a batch's classes": round(float(np.mean(chi2) / expected / (_CLASSES - 1)), 3),
        "shards a batch": round(float(np.mean(shards)), 1),
    }


def _ours(count: int, block_bytes: int) -> Numbers:
    hints = suggest_hints(count, _RUN, IMAGE_BYTES, block_bytes)
    return Order(_ROOT, SEED, 0, OrderParameters.of(hints, count)).samples_at(np.arange(count))


def _order_of(peer: str, count: int, folder: Path) -> tuple[Numbers, str]:
    arguments = [peer, str(folder / "data"), str(count), str(_PER_SHARD)]
    folder.mkdir()
    command = [str(python_of(peer)), "-m", "benchmarks.loaders.sequence", *arguments]
    done = watch(command, child_environment(folder), _CAP_S, folder)
    order = np.array(done.said["order"] if done.said else [], np.int64)
    if done.problem or sorted(order.tolist()) != list(range(count)):
        return order, done.problem or f"{len(order)} samples, {len(np.unique(order))} different, of {count}"
    return order, ""

"""Mosaic's StreamingDataset, through its stock s3:// path against an endpoint on loopback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from .. import samples
from ..collate import COLLATE, Batch
from ..job import SEED, SEQ_LEN, Job

SHARD_BYTES = 64 << 20


def _stub_torchvision() -> None:
    """It imports torchvision for datasets of pictures that are not used here; its wheels need a torch of their own."""
    for name in ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional"):
        sys.modules[name] = module_from_spec(ModuleSpec(name, None))
    vars(sys.modules["torchvision.datasets"])["VisionDataset"] = object
    vars(sys.modules["torchvision.transforms.functional"])["to_tensor"] = None


_stub_torchvision()

import streaming  # noqa: E402
from streaming.base.util import clean_stale_shared_memory  # noqa: E402


def batches(job: Job) -> Iterator[Batch]:
    """`options`: validate_hash, if any."""
    yield from DataLoader(dataset(job), batch_size=job.batch, num_workers=job.workers, collate_fn=_COLLATE[job.corpus])


def finish() -> None:
    """Its shared memory outlives a process that ends at once."""
    clean_stale_shared_memory()


def dataset(job: Job) -> Any:
    """Made as its documentation says."""
    os.environ["S3_ENDPOINT_URL"] = job.url
    clean_stale_shared_memory()
    return streaming.StreamingDataset(
        remote=f"s3://mds/{job.corpus}",
        local=job.cache,
        shuffle=job.shuffle,
        shuffle_seed=SEED,
        batch_size=job.batch,
        validate_hash=job.options.get("validate_hash"),
    )


def _pairs(corpus: str) -> Any:
    def collate(rows: list[dict[str, Any]]) -> Batch:
        return COLLATE[corpus]([(row["x"], row["y"]) for row in rows])

    return collate


def _tokens(rows: list[dict[str, Any]]) -> Batch:
    return COLLATE["tokens"]([row["x"] for row in rows])


_COLLATE: dict[str, Any] = {"images": _pairs("images"), "text": _pairs("text"), "tokens": _tokens}


def write(corpus: str, folder: Path, count: int, shard_bytes: int = SHARD_BYTES) -> None:
    """Shards of 64 MiB; text compressed as its documentation advises."""
    columns: dict[str, dict[str, str]] = {
        "images": {"x": "bytes", "y": "int"},
        "text": {"x": "str", "y": "int"},
        "tokens": {"x": f"ndarray:uint16:{SEQ_LEN + 1}"},
    }
    compression = "zstd:3" if corpus == "text" else None
    with streaming.MDSWriter(
        out=str(folder), columns=columns[corpus], compression=compression, hashes=["sha256"], size_limit=shard_bytes
    ) as writer:
        if corpus == "tokens":
            for window in samples.windows(count):
                writer.write({"x": window})
            return
        source: Any = {"images": samples.images, "text": samples.text}[corpus](count)
        for number, content in source:
            writer.write({"x": content, "y": number})

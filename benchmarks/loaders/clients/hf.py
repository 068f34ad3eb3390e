"""Hugging Face datasets, streaming parquet over HTTP. It keeps no cache: there is no warm epoch.

Its shuffled epochs hold a constant 5 s: datasets 5.0.1 sleeps so long before the last rows of a shuffled stream
(`SLEEP_TIME_ON_THREADS_SHUTDOWN`, around arrow#45214). That is as it comes, and decides small trials.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
from torch.utils.data import DataLoader

from .. import samples
from ..collate import COLLATE, Batch
from ..job import IMAGE_BYTES, SEED, SEQ_LEN, Job

_BUFFER = 1000  # samples of its shuffle: its default
_ROWS = {"images": 640, "text": 40_000, "tokens": 16_000}  # of one file


def batches(job: Job) -> Iterator[Batch]:
    """`options`: none."""
    files = [f"{job.url}/pq/{job.corpus}/{number:05d}.parquet" for number in range(job.shards)]
    stream: Any = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
    if job.shuffle:
        stream = stream.shuffle(seed=SEED, buffer_size=_BUFFER)
    if job.corpus == "tokens":
        stream = stream.with_format("numpy")
    yield from DataLoader(stream, batch_size=job.batch, num_workers=job.workers, collate_fn=_COLLATE[job.corpus])


def _pairs(corpus: str) -> Any:
    def collate(rows: list[dict[str, Any]]) -> Batch:
        return COLLATE[corpus]([(row["x"], row["y"]) for row in rows])

    return collate


def _tokens(rows: list[dict[str, Any]]) -> Batch:
    return COLLATE["tokens"]([row["x"] for row in rows])


_COLLATE: dict[str, Any] = {"images": _pairs("images"), "text": _pairs("text"), "tokens": _tokens}


def write(corpus: str, folder: Path, count: int, shard_bytes: int = 0) -> None:
    """By its own `to_parquet`, which chooses row groups and compression."""
    folder.mkdir(parents=True)
    per_file = shard_bytes // IMAGE_BYTES or _ROWS[corpus]
    rows: list[dict[str, Any]] = []
    written = 0
    for row in _rows(corpus, count):
        rows.append(row)
        if len(rows) == per_file:
            _one(corpus, rows, folder / f"{written:05d}.parquet")
            rows, written = [], written + 1
    if rows:
        _one(corpus, rows, folder / f"{written:05d}.parquet")


def _rows(corpus: str, count: int) -> Iterator[dict[str, Any]]:
    if corpus == "tokens":
        yield from ({"x": window} for window in samples.windows(count))
        return
    source: Any = {"images": samples.images, "text": samples.text}[corpus](count)
    yield from ({"x": content, "y": number} for number, content in source)


def _one(corpus: str, rows: list[dict[str, Any]], path: Path) -> None:
    content = {
        "images": datasets.Value("binary"),
        "text": datasets.Value("string"),
        "tokens": datasets.List(datasets.Value("uint16"), SEQ_LEN + 1),
    }[corpus]
    about = {"x": content} if corpus == "tokens" else {"x": content, "y": datasets.Value("int64")}
    table = datasets.Dataset.from_list(rows, features=datasets.Features(about))
    table.to_parquet(str(path))

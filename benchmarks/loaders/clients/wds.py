"""WebDataset over HTTP (its curl pipe), with and without its cache_dir; buffers of the sizes its documentation uses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import webdataset
from torch.utils.data import DataLoader

from .. import samples
from ..collate import COLLATE, Batch
from ..job import SEED, Job

_BUFFER = 1000  # samples of its shuffle
SHARD_BYTES = 64 << 20
_MEMBER = {"images": "bin", "text": "txt", "tokens": "bin"}


def batches(job: Job) -> Iterator[Batch]:
    """`options`: the folder of the tars below the server."""
    urls = f"{job.url}/{job.options['folder']}/{{00000..{job.shards - 1:05d}}}.tar"
    dataset = webdataset.WebDataset(
        urls,
        shardshuffle=100 if job.shuffle else False,
        seed=SEED,
        cache_dir=job.cache if "cache_dir" in job.loader else None,
        empty_check=False,
    )
    if job.shuffle:
        dataset = dataset.shuffle(_BUFFER)
    member = _MEMBER[job.corpus]
    dataset = dataset.to_tuple(member, "cls")
    yield from DataLoader(dataset, batch_size=job.batch, num_workers=job.workers, collate_fn=_collate(job.corpus))


def _collate(corpus: str) -> Any:
    return _tokens if corpus == "tokens" else COLLATE[corpus]


def _tokens(samples: list[Any]) -> Batch:
    return COLLATE["tokens"]([data for data, _ in samples])


def write(corpus: str, folder: Path, count: int, shard_bytes: int = SHARD_BYTES) -> None:
    """Tars of 64 MiB."""
    folder.mkdir(parents=True)
    rows: dict[str, Any] = {"images": samples.images, "text": samples.text}
    source = rows[corpus](count) if corpus in rows else _token_rows(count)
    member = _MEMBER[corpus]
    pattern = str(folder / "%05d.tar")
    with webdataset.ShardWriter(pattern, maxsize=shard_bytes, maxcount=1 << 30, verbose=0) as writer:
        for number, content in source:
            writer.write({"__key__": f"{number:08d}", member: content, "cls": number})


def _token_rows(count: int) -> Iterator[tuple[int, bytes]]:
    for number, window in enumerate(samples.windows(count)):
        yield number, window.tobytes()

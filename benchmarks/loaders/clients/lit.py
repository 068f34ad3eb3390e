"""LitData's StreamingDataset and StreamingDataLoader, through s3:// against an endpoint on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import litdata
import litdata.streaming.downloader
import torch

from .. import samples
from ..collate import COLLATE, Batch
from ..job import SEED, SEQ_LEN, Job

SHARD_BYTES = 64_000_000


def batches(job: Job) -> Iterator[Batch]:
    """`options`: the folder (bucket and key) of the chunks."""
    yield from litdata.StreamingDataLoader(
        dataset(job), batch_size=job.batch, num_workers=job.workers, collate_fn=partial(_collate, job.corpus)
    )


def dataset(job: Job) -> Any:
    """Made as its documentation says; that the endpoint is plain HTTP has to be allowed in a table of its own."""
    vars(litdata.streaming.downloader)["_OBSTORE_CLIENT_OPTIONS"]["allow_http"] = "true"
    storage = {
        "endpoint_url": job.url, "aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1",
    }  # fmt: skip
    return litdata.StreamingDataset(
        f"s3://{job.options['folder']}",
        cache_dir=job.cache,
        storage_options=storage,
        shuffle=job.shuffle,
        seed=SEED,
        drop_last=False,
        max_cache_size="60GB",
        item_loader=litdata.TokensLoader(block_size=SEQ_LEN + 1) if job.corpus == "tokens" else None,
    )


def _collate(corpus: str, rows: list[Any]) -> Batch:
    if corpus == "tokens":
        return COLLATE["tokens"](rows)
    return COLLATE[corpus]([(row["x"], row["y"]) for row in rows])


def write(corpus: str, folder: Path, count: int, shard_bytes: int = SHARD_BYTES) -> None:
    """By `optimize`, in chunks of 64 MB; into a folder named `….zstd`: compressed."""
    litdata.optimize(
        fn=_rows,
        inputs=[(corpus, count)],
        output_dir=str(folder),
        chunk_bytes=shard_bytes,
        compression="zstd" if folder.name.endswith(".zstd") else None,
        num_workers=1,
        reorder_files=False,
        item_loader=litdata.TokensLoader(block_size=SEQ_LEN + 1) if corpus == "tokens" else None,
        verbose=False,
    )


def _rows(wanted: tuple[str, int]) -> Iterator[Any]:
    corpus, count = wanted
    if corpus == "tokens":
        for window in samples.windows(count):
            yield torch.from_numpy(window.copy())
        return
    source: Any = {"images": samples.images, "text": samples.text}[corpus](count)
    for number, content in source:
        yield {"x": content, "y": number}

"""holdfast: its own `DataLoader`, or torch's over `StreamingDataset`; with verification, as always.

Its own makes columns where nobody collates: a list of texts, an array of tokens, one of images. To torch's, images come
as views of the cache, which the collate copies into its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch.utils.data

from holdfast import DataLoader, StreamingDataset

from ..collate import COLLATE, Batch
from ..job import SEED, SEQ_LEN, Job


def batches(job: Job) -> Iterator[Batch]:
    """`options`: uri, `more` servers, or the one source itself as `base`; the loader's name says which surface."""
    servers = [job.url, *job.options.get("more", [])]
    sources = [job.options["base"]] if "base" in job.options else [f"{url}/ours/{job.corpus}" for url in servers]
    dataset = StreamingDataset(
        job.options["uri"],
        sources=sources,
        batch_size=job.batch,
        seed=SEED,
        shuffle=job.shuffle,
        cache=job.cache,
        seq_len=SEQ_LEN if job.corpus == "tokens" else None,
        reverify="reverify" in job.loader,
        decode={"jpeg": "torch", "images": "memoryview" if "torch" in job.loader else "uint8"}.get(job.corpus),
        decoded_cache="decoded" in job.loader,
    )
    if "torch" in job.loader:
        plain = torch.utils.data.DataLoader[Any]
        yield from plain(dataset, job.batch, num_workers=job.workers, collate_fn=_COLLATE[job.corpus])
    elif job.corpus == "text":
        yield from ((batch["text"], batch["id"]) for batch in DataLoader(dataset, job.batch, job.workers))
    elif job.corpus == "tokens":
        yield from ((batch["tokens"], None) for batch in DataLoader(dataset, job.batch, job.workers))
    elif job.corpus == "images":
        yield from ((batch["bin"], batch["cls"]) for batch in DataLoader(dataset, job.batch, job.workers))
    else:
        yield from DataLoader(dataset, job.batch, job.workers, collate_fn=_COLLATE[job.corpus])
    dataset.close()


def _images(samples: Sequence[dict[str, Any]]) -> Batch:
    return COLLATE["images"]([(sample["bin"], bytes(sample["cls"])) for sample in samples])


def _text(samples: Sequence[dict[str, Any]]) -> Batch:
    return COLLATE["text"]([(sample["text"], sample["id"]) for sample in samples])


def _tokens(samples: Sequence[dict[str, Any]]) -> Batch:
    return COLLATE["tokens"]([sample["tokens"] for sample in samples])


def _jpeg(samples: Sequence[dict[str, Any]]) -> Batch:
    return COLLATE["jpeg"]([(sample["jpg"], sample["cls"]) for sample in samples])


_COLLATE: dict[str, Callable[[Any], Batch]] = {"images": _images, "text": _text, "tokens": _tokens, "jpeg": _jpeg}

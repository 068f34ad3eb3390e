"""holdfast: its own `DataLoader`, or torch's over `StreamingDataset`; with verification, as always."""

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
        decode="torch" if job.corpus == "jpeg" else None,
    )
    make: Any = torch.utils.data.DataLoader if "torch" in job.loader else DataLoader
    yield from make(dataset, batch_size=job.batch, num_workers=job.workers, collate_fn=_COLLATE[job.corpus])
    dataset.close()


def _images(samples: Sequence[dict[str, Any]]) -> Batch:
    return COLLATE["images"]([(sample["bin"], sample["cls"]) for sample in samples])


def _text(samples: Sequence[dict[str, Any]]) -> Batch:
    return COLLATE["text"]([(sample["text"], sample["id"]) for sample in samples])


def _tokens(samples: Sequence[dict[str, Any]]) -> Batch:
    return COLLATE["tokens"]([sample["tokens"] for sample in samples])


def _jpeg(samples: Sequence[dict[str, Any]]) -> Batch:
    return COLLATE["jpeg"]([(sample["jpg"], sample["cls"]) for sample in samples])


_COLLATE: dict[str, Callable[[Any], Batch]] = {"images": _images, "text": _text, "tokens": _tokens, "jpeg": _jpeg}

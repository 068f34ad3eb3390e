"""How many samples a second the loader delivers: cold (empty cache, one peer) and warm, with 0 and 2 workers."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from holdfast import StreamingDataset

from .measure import Run, Series, hash_files, interleave, timed
from .servers import peer

BATCH = 64
FLOOR = "floor: read and sha256"


@dataclass(frozen=True)
class Subject:
    """A published dataset: `shards` are its files, `samples` what an epoch delivers."""

    name: str
    uri: str
    shards: list[Path]
    samples: int
    seq_len: int | None = None

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.shards)


def bench_load(
    subjects: list[Subject], repo: Path, work: Path, rounds: int, say: Callable[[str], None]
) -> list[Series]:
    """One epoch, shuffled, in batches of 64. The clock starts before the dataset object is made."""
    with peer(repo) as url:
        rows: list[tuple[Series, Run]] = []
        for subject in subjects:
            section = f"load {subject.name}"
            floor = Series(section, FLOOR, subject.bytes, subject.samples)
            rows.append((floor, lambda series, shards=subject.shards: timed(series, lambda: hash_files(shards))))
            for workers in (0, 2):
                cache = work / f"cache-{subject.name}-{workers}"
                for state in ("cold", "warm"):
                    series = Series(section, f"{state}, {workers} workers", subject.bytes, subject.samples, FLOOR)
                    rows.append((series, _epoch(subject, url, cache, workers, cold=state == "cold")))
        return interleave(rows, rounds, say)


def _epoch(subject: Subject, url: str, cache: Path, workers: int, *, cold: bool) -> Run:
    def run(series: Series) -> None:
        if cold:
            shutil.rmtree(cache, ignore_errors=True)
        started = time.perf_counter()
        dataset = StreamingDataset(
            subject.uri, sources=[url], batch_size=BATCH, seed=1, cache=cache, seq_len=subject.seq_len
        )
        collate: Callable[[list[Any]], Any] = list if subject.seq_len is None else _stack
        loader: DataLoader[Any] = DataLoader(dataset, BATCH, num_workers=workers, collate_fn=collate)
        count, first = 0, 0.0
        for batch in loader:
            count += len(batch)
            first = first or time.perf_counter() - started
        series.seconds.append(time.perf_counter() - started)
        series.first_s.append(first)
        dataset.close()
        if count != subject.samples:
            raise SystemExit(f"{subject.name}: {count} samples came, expected {subject.samples}")

    return run


def _stack(samples: list[dict[str, Any]]) -> torch.Tensor:
    return torch.stack([sample["tokens"] for sample in samples])

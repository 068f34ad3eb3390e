"""The cells of the table, who is measured in each, and what each loader is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .job import Job
from .materials import Material

CORPORA = ("images", "text", "tokens")
COUNTS = {"images": 20_000, "text": 200_000, "tokens": 97_656}  # 2 GB, 410 MB, 200 million tokens


@dataclass(frozen=True)
class Loader:
    """A row. `peer`: whose interpreter; `kind`: its format; `cold`, `warm`: whether there is such an epoch."""

    name: str
    peer: str
    kind: str
    corpora: tuple[str, ...] = CORPORA
    cold: bool = True
    warm: bool = True


OURS, OURS_TORCH, OURS_REVERIFY = "holdfast", "holdfast, torch's DataLoader", "holdfast, reverify"
LOADERS = (
    Loader(OURS, "ours", ""),
    Loader(OURS_TORCH, "ours", ""),
    Loader(OURS_REVERIFY, "ours", "", cold=False),
    Loader("holdfast, decoded cache", "ours", "", corpora=("text",)),
    Loader("webdataset", "webdataset", "wds", warm=False),
    Loader("webdataset cache_dir", "webdataset", "wds"),
    Loader("mosaic", "mosaic", "mds"),
    Loader("litdata", "litdata", "lit"),
    Loader("litdata zstd", "litdata", "lit.zstd", corpora=("text",)),
    Loader("datasets", "datasets", "pq", warm=False),
    Loader("numpy memmap", "ours", "", corpora=("tokens",), cold=False),
)
BY_HAND = "curl, then sha256"  # images, cold: no loader, and no process of ours


@dataclass(frozen=True)
class Cell:
    """`workers` and the order; each has a cold and a warm half."""

    corpus: str
    shuffle: bool
    workers: int

    def name(self, state: str) -> str:
        """As it stands in the table and in the results."""
        return f"{self.corpus}, {state}, {'shuffled' if self.shuffle else 'in order'}, {self.workers} workers"


def cells(corpus: str) -> Iterator[Cell]:
    """All of one corpus."""
    for shuffle in (False, True):
        for workers in (0, 2):
            yield Cell(corpus, shuffle, workers)


def wanted(cell: Cell, only: re.Pattern[str]) -> dict[str, list[Loader]]:
    """Of each half the loaders that `only` names, by "cell: loader"."""
    found: dict[str, list[Loader]] = {"cold": [], "warm": []}
    for state, rows in found.items():
        for loader in LOADERS:
            there = cell.corpus in loader.corpora and getattr(loader, state)
            if there and only.search(f"{cell.name(state)}: {loader.name}"):
                rows.append(loader)
    return found


def job(loader: Loader, cell: Cell, material: Material, url: str, cache: Path) -> Job:
    """What the process of one run is told."""
    options: dict[str, object] = {}
    if loader.peer == "ours":
        options["uri"] = material.uri
    else:
        options["folder"] = material.folder(loader.kind)
    if loader.name == "numpy memmap":
        options["path"] = str(next((material.served / "ours/tokens/data").iterdir()))
    return Job(
        loader.name.replace(",", ""), cell.corpus, url, str(cache), cell.workers, cell.shuffle, material.samples,
        material.shards.get(loader.kind, 0), options=options,
    )  # fmt: skip

"""No loader at all, in the same loop: NumPy's memmap over tokens on this disk; JPEGs that are in memory already."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..collate import COLLATE, Batch
from ..job import SEED, SEQ_LEN, Job


class _Windows(Dataset[torch.Tensor]):
    """The windows of one file of uint16."""

    def __init__(self, path: str, count: int) -> None:
        self._path, self._count = path, count
        self._tokens: Any = None

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> torch.Tensor:
        if self._tokens is None:
            self._tokens = np.memmap(self._path, np.uint16, "r")
        return torch.from_numpy(self._tokens[number * SEQ_LEN : number * SEQ_LEN + SEQ_LEN + 1].astype(np.int64))


class _Jpegs(Dataset[tuple[torch.Tensor, bytes]]):
    """The members of tars, decoded by the handler that our own decoder uses."""

    def __init__(self, folder: Path) -> None:
        from webdataset.autodecode import ImageHandler

        self._decode = ImageHandler("torchrgb", ["jpg"])
        self._rows: list[tuple[bytes, bytes]] = []
        for path in sorted(folder.iterdir()):
            with tarfile.open(path) as tar:
                files = iter([tar.extractfile(member) for member in tar])
                self._rows += [(one.read(), two.read()) for one, two in zip(files, files, strict=True) if one and two]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, bytes]:
        data, label = self._rows[number]
        return self._decode("jpg", data), label


_ready: list[_Jpegs] = []


def prepare(job: Job) -> None:
    """What is to be in memory, before the clock starts."""
    if job.corpus == "jpeg":
        _ready.append(_Jpegs(Path(job.options["folder"])))


def batches(job: Job) -> Iterator[Batch]:
    """`options`: the path of the file, or the folder of the tars."""
    numbers = torch.Generator()
    numbers.manual_seed(SEED)
    dataset: Dataset[Any] = _ready[0] if job.corpus == "jpeg" else _Windows(job.options["path"], job.samples)
    yield from DataLoader(
        dataset, batch_size=job.batch, shuffle=job.shuffle, generator=numbers, num_workers=job.workers,
        collate_fn=COLLATE[job.corpus],
    )  # fmt: skip

"""`Mixture`: several datasets as one, by weight, in one global order that any world can go on from."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from ..storage.errors import ConfigError
from .arguments import checked_optional, checked_whole
from .dataset import StreamingDataset
from .elastic import ElasticDataset, checked_seed
from .mix import Mix
from .share import Tail
from .state import Pass
from .stats import LoaderStats, Meter, total


class Mixture(ElasticDataset):
    """Samples of several datasets, `weights[i]` of dataset i in every round of `sum(weights)`.

    Each dataset is gone through in its own order, epoch after epoch of its own; one that is short of samples comes
    round sooner. An epoch of the mixture has `samples` positions, and the next one goes on where it ended: with
    `set_epoch(e)` position p is draw e · samples + p. State, ranks, workers and `tail` are as for `StreamingDataset`.

    Args:
        datasets: made with the same or no `rank` and `world_size`; theirs are not used, nor their epochs.
        weights: whole numbers of 1 or more, one each.
        samples: positions of an epoch; None: as many as the datasets have together.
        seed: of the order within the rounds.
        batch_size, rank, world_size, tail: see `StreamingDataset`.

    """

    def __init__(
        self,
        datasets: Sequence[StreamingDataset],
        weights: Sequence[int],
        *,
        samples: int | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        tail: Tail = "repeat",
    ) -> None:
        super().__init__(batch_size=batch_size, rank=rank, world_size=world_size, tail=tail)
        if not all(isinstance(dataset, StreamingDataset) for dataset in datasets):
            raise ConfigError("a mixture is made of StreamingDatasets, and of nothing else", hint="give a list of them")
        weights = [checked_whole("weights", weight, 1) for weight in weights]
        if len(datasets) != len(weights):
            raise ConfigError(f"{len(datasets)} datasets and {len(weights)} weights", hint="give one weight each")
        checked_optional("samples", samples, 1)
        self.datasets, self._wanted = tuple(datasets), samples
        self._mix = Mix(tuple(weights), checked_seed(seed))

    @property
    def tensors(self) -> bool:
        """See `ElasticDataset.tensors`."""
        return any(dataset.tensors for dataset in self.datasets)

    @property
    def skips(self) -> bool:
        """See `ElasticDataset.skips`."""
        return any(dataset.skips for dataset in self.datasets)

    def _samples(self) -> int:
        return self._wanted or sum(dataset._samples() for dataset in self.datasets)

    def _pass(self) -> Pass:
        parts = [asdict(dataset._pass()) for dataset in self.datasets]
        text = json.dumps([parts, self._mix.weights, self._wanted], sort_keys=True)
        return Pass("mixture:" + hashlib.sha256(text.encode()).hexdigest(), None, None, self._mix.seed, shuffle=True)

    def _read(self, epoch: int, positions: Iterator[npt.NDArray[np.int64]], *, counted: bool = True) -> Iterator[Any]:
        first = epoch * self._samples()
        deal = _Deal(self._mix, (part + first for part in positions), len(self.datasets))
        parts = [_draws(dataset, deal.of(number), counted=counted) for number, dataset in enumerate(self.datasets)]
        for number in deal:
            yield next(parts[number])

    def _stats(self, *, workers: bool) -> LoaderStats:
        return total([dataset._stats(workers=workers) for dataset in self.datasets])

    def meters(self) -> list[Meter]:
        """See `ElasticDataset.meters`."""
        return [meter for dataset in self.datasets for meter in dataset.meters()]

    def close(self) -> None:
        """Close all of them."""
        for dataset in self.datasets:
            dataset.close()


class _Deal:
    """Deals draws to datasets as these ask for them: each reads ahead by itself, so none may wait for another.

    Iterated, it says whose turn it is.
    """

    def __init__(self, mix: Mix, positions: Iterator[npt.NDArray[np.int64]], count: int) -> None:
        self._mix, self._positions = mix, positions
        self._turns: deque[npt.NDArray[np.uint16]] = deque()
        self._draws: list[deque[npt.NDArray[np.int64]]] = [deque() for _ in range(count)]

    def _advance(self) -> bool:
        part = next(self._positions, None)
        if part is None:
            return False
        which, numbers = self._mix.pick(part)
        self._turns.append(which.astype(np.uint16))  # a dataset that seldom comes is read ahead for far: keep it small
        for number, draws in enumerate(self._draws):
            mine = numbers[which == number]
            if len(mine):
                draws.append(mine)
        return True

    def __iter__(self) -> Iterator[int]:
        while self._turns or self._advance():
            yield from self._turns.popleft().tolist()

    def of(self, number: int) -> Iterator[npt.NDArray[np.int64]]:
        """The draws of one dataset, in order."""
        while True:
            while not self._draws[number]:
                if not self._advance():
                    return
            yield self._draws[number].popleft()


def _draws(dataset: StreamingDataset, draws: Iterator[npt.NDArray[np.int64]], *, counted: bool) -> Iterator[Any]:
    """Samples of one dataset by the number of the draw: `len` of them are an epoch of its own."""
    size = dataset._samples()
    if not size:
        raise ConfigError(f"{dataset.uri} has no samples", hint="leave it out of the mixture")
    return dataset._drawn(draws, counted=counted)

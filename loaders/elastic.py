"""`ElasticDataset`: positions of an epoch dealt to ranks and workers; stops anywhere, goes on in any world."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import IterableDataset, get_worker_info

from ..storage.errors import ConfigError
from .arguments import checked_optional, checked_whole
from .passage import Passage, Terms
from .share import TAILS, Share, Tail
from .shared_start import MAX_EPOCH, SharedStart
from .skip import HOLE
from .state import Dealt, Pass, State
from .stats import Counts, LoaderStats, Meter

_TAKERS = (1 << 62) - 1


class ElasticDataset(IterableDataset[Any], ABC):
    """What every dataset in one global order shares. A subclass says how many positions an epoch has and what is there.

    Raises `ConfigError` for wrong ranks, and for a tail that is none.
    """

    def __init__(self, *, batch_size: int | None, rank: int | None, world_size: int | None, tail: Tail) -> None:
        super().__init__()
        if tail not in TAILS:
            raise ConfigError(f"tail={tail!r}", hint=f"expected one of {', '.join(TAILS)}")
        self.batch_size, self.tail = checked_optional("batch_size", batch_size, 1), tail
        self.rank, self.world_size = _rank(rank, world_size)
        self._next = SharedStart()
        self.terms: Terms | None = None  # of a pass of `DataLoader` that begins just now; its workers keep them
        self._used = False  # whether they were
        self._passes = 0  # of this process, where it is a worker
        self._resumed: State | None = None  # of this process alone: a worker's own
        self._last: Passage | None = None  # that this process began
        self._built = Meter()  # what workers built, as `DataLoader` hears of it

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next pass: it shuffles anew. From 0 to 2**63 - 1."""
        self._next.set_epoch(checked_whole("epoch", epoch, 0, MAX_EPOCH))

    def next_start(self) -> tuple[int, int]:
        """The epoch of the next pass, and the position at which it begins: 0 unless a state was loaded."""
        return self._next.peek()

    def is_asked_for_another(self, epoch: int) -> bool:
        """Whether another epoch than this one was set since a pass began, or a state was loaded."""
        return self._next.asked not in (None, epoch) or self._next.loaded

    def state_dict(self) -> dict[str, Any]:
        """Where this dataset stands: a small dict of numbers and texts, for a checkpoint. O(1), whatever was read.

        What was delivered is what this process iterated. Raises `ConfigError` where workers of a plain torch
        `DataLoader` did that: they read ahead, and nobody here knows how far their samples were used.
        """
        worker = get_worker_info()
        if worker is None and self._next.workers:
            raise ConfigError(
                "the workers of a plain torch DataLoader do not say how much of what they read was used",
                hint="use holdfast.DataLoader, or torchdata's StatefulDataLoader, and call their state_dict()",
            )
        if self._resumed is not None:
            return self._resumed.encode()
        last = self._last
        if last is None or (worker is None and self.is_asked_for_another(last.epoch)):
            return self.state_at(*self._next.peek(), 0)
        if last.dealt.workers == 1:
            return self.state_at(last.epoch, last.start, last.taken)
        return State(self._pass(), last.epoch, last.start, last.taken, last.dealt).encode()

    def state_at(self, epoch: int, start: int, delivered: int) -> dict[str, Any]:
        """The state of a pass that began at `start` when each rank has delivered so many of its samples."""
        if delivered:
            share = Share(self._samples(), self.rank, self.world_size, start=start, tail=self.tail)
            start = share.position_behind(delivered)
        return State(self._pass(), epoch, start).encode()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned: the next pass begins there. Raises `ConfigError` for another's state.

        Nothing is read again. Ranks and workers may be others than when it was saved, but for a state that a worker of
        a torchdata `StatefulDataLoader` saved for itself.
        """
        found = State.decode(state, self._pass())
        self._last = self._resumed = None
        if get_worker_info() is None and not found.taken:
            self._next.resume(found.epoch, found.start)
        else:
            self._resumed = found

    @abstractmethod
    def _pass(self) -> Pass:
        """What is iterated, and in which order."""

    @abstractmethod
    def _samples(self) -> int:
        """Positions of an epoch."""

    @abstractmethod
    def _read(self, epoch: int, positions: Iterator[npt.NDArray[np.int64]], *, counted: bool = True) -> Iterator[Any]:
        """What comes at these positions; a `HOLE` where a sample was left out. `counted`: in `stats`."""

    def _dealt(self) -> Dealt:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        batch_size = self.terms.batch_size if self.terms else self.batch_size or 1
        return Dealt(self.rank, self.world_size, number, workers, batch_size, self.tail)

    def begin(self) -> tuple[int, int]:
        """A pass begins, of this process or of workers: its epoch, and the position at which it begins.

        What it is of is settled here and now, whenever its first sample is asked for.
        """
        return self._next.take()

    def _begin(self) -> Passage:
        worker, dealt, taken = get_worker_info(), self._dealt(), 0
        holes = self.terms is not None and self.terms.holes
        if self._resumed is not None:
            self._resumed.check_dealt(dealt)
            begun, taken = (self._resumed.epoch, self._resumed.start), self._resumed.taken
        elif self.terms is not None and not self._used:
            begun = self.terms.epoch, self.terms.start
            if worker is not None:
                self._next.passed(worker.num_workers)
        elif worker is None:
            begun = self.begin()
        elif self.terms is not None:
            begun = self._next.passed(worker.num_workers)
        else:
            taker = (worker.seed - worker.id + self._passes) & _TAKERS
            first = not self._passes
            begun = self._next.take_by_worker(worker.id, worker.num_workers, taker, first=first)
        self._used, self._resumed = self.terms is not None, None
        self._passes += worker is not None
        self._last = Passage(*begun, dealt, taken, holes)
        return self._last

    def batches_from_start(self, epoch: int, size: int) -> Iterator[list[Any]]:
        """The samples of an epoch in batches, this rank's first, and then all; holes where some were left out.

        They are not counted in `stats`.
        """
        for share in (Share(self._samples(), self.rank, self.world_size, tail=self.tail), Share(self._samples())):
            samples = self._read(epoch, share.positions(chunk=size), counted=False)
            while batch := list(islice(samples, size)):
                yield batch

    @contextmanager
    def under(self, terms: Terms) -> Iterator[None]:
        """What begins in here is a pass on these terms, in this process or in workers that are made in here."""
        self.terms, self._used = terms, False
        try:
            yield
        finally:
            self.terms = None

    def count(self, part: Counts) -> None:
        """Workers did so much."""
        self._built.begin()
        self._built.add(part)

    def stats(self) -> LoaderStats:
        """What was read so far, and from where: by this process, and by workers of our `DataLoader`."""
        built = self._built
        here = self._stats(workers=built.seconds > 0)
        return replace(
            here, samples=here.samples + built.samples, skipped=here.skipped + built.skipped,
            cached_bytes=here.cached_bytes + built.cached_bytes, missed_bytes=here.missed_bytes + built.missed_bytes,
            stalled_s=here.stalled_s + built.stalled_s, seconds=max(here.seconds, built.seconds),
        )  # fmt: skip

    @abstractmethod
    def _stats(self, *, workers: bool) -> LoaderStats:
        """What this process has read so far, and from where; `workers`: with what their fetcher fetched."""

    @abstractmethod
    def meters(self) -> list[Meter]:
        """What this process counts of each dataset that it has begun to read."""

    @property
    def tensors(self) -> bool:
        """Whether members come as tensors of their bytes, which may differ in length."""
        return False

    @property
    def skips(self) -> bool:
        """Whether samples that cannot be built are left out (`on_error="skip"`)."""
        return False

    @property
    def in_step(self) -> bool:
        """Whether there are other ranks, which make as many steps."""
        return self.world_size > 1

    def __iter__(self) -> Iterator[Any]:
        return self._deliver(self._begin())

    def _deliver(self, passage: Passage) -> Iterator[Any]:
        worker = get_worker_info()
        if worker is not None and worker.num_workers > 1 and self.batch_size is None and self.terms is None:
            raise ConfigError(
                f"{type(self).__name__} needs batch_size with {worker.num_workers} workers: torch deals whole batches"
                " to them",
                hint=f"pass the DataLoader's batch_size to {type(self).__name__} too",
            )
        share = self._checked_share(passage)
        for sample in self._read(passage.epoch, share.positions(passage.taken)):
            passage.taken += 1  # a hole is consumed too
            if passage.holes or sample is not HOLE:
                yield sample

    def _checked_share(self, passage: Passage) -> Share:
        """Raises `ConfigError` where there is nothing to deliver although nothing was delivered yet."""
        samples = self._samples()
        share = passage.share(samples)
        if passage.start > samples:
            raise ConfigError(
                f"the state says that {passage.start} samples were delivered, and an epoch has {samples}",
                hint="give a state of this dataset",
            )
        if not passage.start and not Share(samples, self.rank, self.world_size, tail=self.tail).rank_samples:
            raise ConfigError(
                f"rank {self.rank} of {self.world_size} has no sample: there are {samples}, and tail={self.tail!r}",
                hint='take fewer ranks, or tail="repeat"' if samples else "is it the right dataset, and partition?",
            )
        return share

    def __len__(self) -> int:
        """Samples that this rank delivers in an epoch."""
        return Share(self._samples(), self.rank, self.world_size, tail=self.tail).rank_samples


def checked_seed(seed: object) -> int:
    """A seed, if it is one. Raises `ConfigError`."""
    return checked_whole("seed", seed, 0, (1 << 64) - 1)


def _rank(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if (rank is None) != (world_size is None):
        raise ConfigError("rank and world_size belong together", hint="give both, or neither")
    if rank is None or world_size is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1
    world_size = checked_whole("world_size", world_size, 1)
    return checked_whole("rank", rank, 0, world_size - 1), world_size

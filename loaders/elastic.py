"""`ElasticDataset`: positions of an epoch dealt to ranks and workers; stops anywhere, goes on in any world."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import IterableDataset, get_worker_info

from ..storage.errors import ConfigError
from .share import TAILS, Share, Tail
from .shared_start import SharedStart
from .skip import HOLE
from .state import Dealt, Pass, State
from .stats import LoaderStats


class ElasticDataset(IterableDataset[Any], ABC):
    """What every dataset in one global order shares. A subclass says how many positions an epoch has and what is there.

    Raises `ConfigError` for wrong ranks, and for a tail that is none.
    """

    def __init__(self, *, batch_size: int | None, rank: int | None, world_size: int | None, tail: Tail) -> None:
        super().__init__()
        if tail not in TAILS:
            raise ConfigError(f"tail={tail!r}", hint=f"expected one of {', '.join(TAILS)}")
        self.batch_size, self.tail = batch_size, tail
        self.rank, self.world_size = _rank(rank, world_size)
        self._next = SharedStart()
        self._resumed: State | None = None  # of this process alone: a worker's own
        self._share: Share | None = None  # of the pass that this process makes or made last
        self._reading = self._taken = 0  # its epoch, and how many positions of it were consumed
        self.holes = False  # whether a sample that was left out comes as a hole: `DataLoader` asks for it

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next pass: it shuffles anew."""
        if epoch < 0:
            raise ValueError(f"epoch {epoch}: expected 0 or more")
        self._next.set_epoch(epoch)

    def next_start(self) -> tuple[int, int]:
        """The epoch of the next pass, and the position at which it begins: 0 unless a state was loaded."""
        return self._next.peek()

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
        if self._share is None or (worker is None and self._reading != self._next.peek()[0]):
            return self.state_at(*self._next.peek(), 0)
        if self._share.workers == 1:
            return self._state(self._reading, self._share.position_behind(self._taken)).encode()
        return State(self._pass(), self._reading, self._share.start, self._taken, self._dealt(self._share)).encode()

    def state_at(self, epoch: int, start: int, delivered: int) -> dict[str, Any]:
        """The state of a pass that began at `start` when each rank has delivered so many of its samples."""
        if delivered:
            start = Share(self._samples(), self.rank, self.world_size, start=start).position_behind(delivered)
        return self._state(epoch, start).encode()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned: the next pass begins there. Raises `ConfigError` for another's state.

        Nothing is read again. Ranks and workers may be others than when it was saved, but for a state that a worker of
        a torchdata `StatefulDataLoader` saved for itself.
        """
        found = State.decode(state, self._pass())
        self._share = None
        if get_worker_info() is None and not found.taken:
            self._next.resume(found.epoch, found.start)
        else:
            self._resumed = found

    def _state(self, epoch: int, start: int) -> State:
        return State(self._pass(), epoch, start)

    @abstractmethod
    def _pass(self) -> Pass:
        """What is iterated, and in which order."""

    @abstractmethod
    def _samples(self) -> int:
        """Positions of an epoch."""

    @abstractmethod
    def _read(self, epoch: int, positions: Iterator[npt.NDArray[np.int64]]) -> Iterator[Any]:
        """What comes at these positions; a `HOLE` where a sample was left out."""

    def _dealt(self, share: Share) -> Dealt:
        return Dealt(share.rank, share.world_size, share.worker, share.workers, share.batch_size, share.tail)

    def _begin(self, number: int, workers: int) -> Share:
        """A pass begins: at its start, or where a loaded state says."""
        self._reading, start = self._next.take(number, workers, in_worker=get_worker_info() is not None)
        self._taken, resumed, self._resumed = 0, self._resumed, None
        if resumed is not None:
            self._reading, start, self._taken = resumed.epoch, resumed.start, resumed.taken
        share = Share(
            self._samples(), self.rank, self.world_size, number, workers, self.batch_size or 1, start, self.tail
        )
        if resumed is not None:
            resumed.check_dealt(self._dealt(share))
        self._share = share
        return share

    @abstractmethod
    def stats(self) -> LoaderStats:
        """What this process has read so far, and from where; workers count for themselves."""

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
        """Whether there are other ranks, and each is to deliver as many samples as they do."""
        return self.world_size > 1 and self.tail != "exact"

    def __iter__(self) -> Iterator[Any]:
        return self._deliver(holes=self.holes)

    def _deliver(self, *, holes: bool) -> Iterator[Any]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        if workers > 1 and self.batch_size is None:
            raise ConfigError(
                f"{type(self).__name__} needs batch_size with {workers} workers: torch deals whole batches to them",
                hint=f"pass the DataLoader's batch_size to {type(self).__name__} too",
            )
        share = self._begin(number, workers)
        for sample in self._read(self._reading, share.positions(self._taken)):
            self._taken += 1  # a hole is consumed too
            if holes or sample is not HOLE:
                yield sample

    def __len__(self) -> int:
        """Samples that this rank delivers in an epoch."""
        return Share(self._samples(), self.rank, self.world_size, tail=self.tail).rank_samples


def checked_seed(seed: object) -> int:
    """A seed, if it is one. Raises `ConfigError`."""
    try:
        number = operator.index(seed)  # type: ignore[arg-type]
    except TypeError:
        raise ConfigError(f"seed={seed!r}", hint="a seed is a whole number from 0 to 2**64 - 1") from None
    if not 0 <= number < 1 << 64:
        raise ConfigError(f"seed={seed!r}", hint="a seed is a whole number from 0 to 2**64 - 1")
    return number


def _rank(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if (rank is None) != (world_size is None):
        raise ConfigError("rank and world_size belong together", hint="give both, or neither")
    if rank is None or world_size is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank {rank} of world_size {world_size}", hint="ranks count from 0")
    return rank, world_size

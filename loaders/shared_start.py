"""`SharedStart`: where the next pass begins, in memory that workers share: they may live on between epochs."""

from __future__ import annotations

import logging
from typing import Any

import torch

LOG = logging.getLogger("holdfast.loader")

_EPOCH, _START, _LOADED, _WORKERS, _TAKEN, _TAKER, _PASS_EPOCH, _PASS_START, _SERVED = range(9)
_NOBODY = -1
_SLOTS = 256  # workers with a slot of their own; those beyond share the last

Place = tuple[int, int]  # epoch, and position in it


class SharedStart:
    """A loaded state is for one pass: the next one that begins, in whatever process, of all of its workers.

    A process that iterates says so by `take`, and so does a loader that knows when a pass of its workers begins.
    Workers of a plain torch `DataLoader` come by themselves: those of one pass have one number (`taker`).

    Fields: epoch; the position that the loaded state begins at; how many states were loaded; how many workers make the
    pass (0: the process itself); how many states were taken; by which pass of workers the last one was; where the last
    pass that was taken here began; and for each worker the number of the state that it took last. Nothing is locked:
    workers of one pass write the same.
    """

    def __init__(self) -> None:
        self._fields = torch.zeros(_SERVED + _SLOTS, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._fields[_TAKER] = _NOBODY
        self._epoch = 0  # of the next pass when this process was copied: a worker that comes late is of that one
        self.asked: int | None = None  # the epoch that was set since a pass began

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if not self._fields.is_shared():  # a plain pickle, or a deep copy: workers of this one are others
            self._fields.share_memory_()

    @property
    def workers(self) -> int:
        """How many workers make the pass; 0 while it is this process itself, or nobody."""
        return int(self._fields[_WORKERS])

    @property
    def _loaded(self) -> bool:
        return int(self._fields[_TAKEN]) < int(self._fields[_LOADED])

    def peek(self) -> Place:
        """Epoch and start of the next pass."""
        return int(self._fields[_EPOCH]), int(self._fields[_START]) if self._loaded else 0

    def set_epoch(self, epoch: int) -> None:
        """The next pass is of this epoch: from its start, unless a state of this very epoch was loaded."""
        if epoch != int(self._fields[_EPOCH]):
            if self._loaded and int(self._fields[_START]):
                LOG.warning(
                    "set_epoch(%d) drops the state that was loaded, of epoch %d: go on with that epoch, which"
                    " DataLoader.epoch and next_start() say", epoch, int(self._fields[_EPOCH])
                )  # fmt: skip
            self._fields[_TAKEN], self._fields[_TAKER] = self._fields[_LOADED], _NOBODY
        self._fields[_EPOCH] = self._epoch = epoch
        self._fields[_WORKERS] = 0
        self.asked = epoch

    def resume(self, epoch: int, start: int) -> None:
        """The next pass begins there. Behind it comes the epoch that was set before, if that is a later one.

        A torchdata loader without workers gives the state of an epoch that has ended to a pass that it then drops, when
        its user has set the next epoch already.
        """
        self._fields[_EPOCH], self._fields[_START] = epoch, start
        self._fields[_LOADED] += 1
        self._fields[_WORKERS] = 0
        self._epoch = epoch

    def take(self) -> Place:
        """Begin a pass, here or in workers: its epoch and start."""
        place, loaded = self.peek(), self._loaded
        self._fields[_TAKEN], self._fields[_TAKER] = self._fields[_LOADED], _NOBODY
        self._fields[_PASS_EPOCH], self._fields[_PASS_START] = place
        self._fields[_WORKERS] = 0
        if loaded and self.asked is not None and self.asked > place[0]:
            self._fields[_EPOCH] = self._epoch = self.asked
        self.asked = None
        return place

    def passed(self, workers: int) -> Place:
        """A worker of many passes begins the one that `take` spoke of last."""
        self._fields[_WORKERS] = workers
        return int(self._fields[_PASS_EPOCH]), int(self._fields[_PASS_START])

    def take_by_worker(self, number: int, workers: int, taker: int, *, first: bool) -> Place:
        """Worker `number` of so many begins a pass, of which nobody else says when; its epoch and start. `first`: of
        this process.
        """
        slot, loaded = _SERVED + min(number, _SLOTS - 1), int(self._fields[_LOADED])
        if self._loaded:
            self._fields[_TAKER] = taker
            self._fields[_TAKEN] = loaded
        mine = int(self._fields[_TAKER]) == taker and int(self._fields[slot]) < loaded == int(self._fields[_TAKEN])
        self._fields[slot] = loaded
        self._fields[_WORKERS] = workers
        epoch = self._epoch if first else int(self._fields[_EPOCH])
        return epoch, int(self._fields[_START]) if mine else 0

"""`SharedStart`: where the next pass begins, in memory that workers share: they may live on between epochs."""

from __future__ import annotations

import logging
from typing import Any

import torch

from ..storage.errors import ConfigError

LOG = logging.getLogger("holdfast.loader")

_EPOCH, _START, _LOADED, _DROPPED, _WORKERS, _TAKEN, _TAKER, _PASS_EPOCH, _PASS_START, _SERVED = range(10)
_NOBODY = -1
_MAX_WORKERS = 1024
MAX_EPOCH = (1 << 63) - 1

Place = tuple[int, int]  # epoch, and position in it


class SharedStart:
    """A loaded state is for one pass: the next one that begins, in whatever process, of all of its workers.

    A process that iterates says so by `take`, and so does a loader that knows when a pass of its workers begins.
    Workers of a plain torch `DataLoader` come by themselves: those of one pass have one number (`taker`). They may come
    late: what was set behind the making of their processes is for passes behind theirs, so each has a copy of what was
    to come next when it was made.

    Fields: epoch; the position that the loaded state begins at; how many states were loaded, and how many of them were
    dropped or taken; how many workers make the pass (0: the process itself); how many states were taken; by which pass
    of workers the last one was; where the last pass that was taken here began; and for each worker the number of the
    state that it took last. Nothing is locked: workers of one pass write the same.
    """

    def __init__(self) -> None:
        fields = torch.zeros(_SERVED + _MAX_WORKERS, dtype=torch.int64)
        self._fields = fields.share_memory_()  # type: ignore[no-untyped-call]
        self._fields[_TAKER] = _NOBODY
        self._coming = (0, 0, 0)  # epoch and start of the next pass, and the number of the state that it is of, if any
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
    def loaded(self) -> bool:
        """Whether a state was loaded, and no pass was made of it yet."""
        return max(int(self._fields[_TAKEN]), int(self._fields[_DROPPED])) < int(self._fields[_LOADED])

    def peek(self) -> Place:
        """Epoch and start of the next pass."""
        return int(self._fields[_EPOCH]), int(self._fields[_START]) if self.loaded else 0

    def set_epoch(self, epoch: int) -> None:
        """The next pass is of this epoch: from its start, unless a state of this very epoch was loaded."""
        if epoch != int(self._fields[_EPOCH]):
            if self.loaded and int(self._fields[_START]):
                LOG.warning(
                    "set_epoch(%d) drops the state that was loaded, of epoch %d: go on with that epoch, which"
                    " DataLoader.epoch and next_start() say", epoch, int(self._fields[_EPOCH])
                )  # fmt: skip
            self._fields[_DROPPED] = self._fields[_LOADED]
        self._fields[_EPOCH] = epoch
        self._fields[_WORKERS] = 0
        self._copy()
        self.asked = epoch

    def resume(self, epoch: int, start: int) -> None:
        """The next pass begins there. Behind it comes the epoch that was set before, if that is a later one.

        A torchdata loader without workers gives the state of an epoch that has ended to a pass that it then drops, when
        its user has set the next epoch already.
        """
        self._fields[_EPOCH], self._fields[_START] = epoch, start
        self._fields[_LOADED] += 1
        self._fields[_WORKERS] = 0
        self._copy()

    def _copy(self) -> None:
        """For workers that are made from now on."""
        self._coming = (*self.peek(), int(self._fields[_LOADED]) if self.loaded else 0)

    def take(self) -> Place:
        """Begin a pass, here or in workers: its epoch and start."""
        place, loaded = self.peek(), self.loaded
        self._fields[_TAKEN], self._fields[_TAKER] = self._fields[_LOADED], _NOBODY
        self._fields[_PASS_EPOCH], self._fields[_PASS_START] = place
        self._fields[_WORKERS] = 0
        if loaded and self.asked is not None and self.asked > place[0]:
            self._fields[_EPOCH] = self.asked
        self._copy()
        self.asked = None
        return place

    def passed(self, workers: int) -> Place:
        """A worker of many passes begins the one that `take` spoke of last."""
        self._fields[_WORKERS] = workers
        return int(self._fields[_PASS_EPOCH]), int(self._fields[_PASS_START])

    def take_by_worker(self, number: int, workers: int, taker: int, *, first: bool) -> Place:
        """Worker `number` of so many begins a pass, of which nobody else says when; its epoch and start. `first`: of
        this process. Raises `ConfigError` for more workers than there is room for.
        """
        if workers > _MAX_WORKERS:
            raise ConfigError(f"{workers} workers", hint=f"torch's DataLoader may have {_MAX_WORKERS} of them here")
        fields, slot = self._fields, _SERVED + number
        if first:
            epoch, start, state = self._coming
        else:
            epoch, start = int(fields[_EPOCH]), int(fields[_START])
            state = int(fields[_LOADED]) if int(fields[_DROPPED]) < int(fields[_LOADED]) else 0
        if state > int(fields[_TAKEN]):
            fields[_TAKER] = taker
            fields[_TAKEN] = state
        mine = bool(state) and state == int(fields[_TAKEN]) and taker == int(fields[_TAKER])
        mine = mine and int(fields[slot]) < state
        if mine:
            fields[slot] = state
        fields[_WORKERS] = workers
        return epoch, start if mine else 0

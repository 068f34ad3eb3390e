"""`SharedStart`: where the next pass begins, in memory that workers share: they may live on between epochs."""

from __future__ import annotations

import torch

_EPOCH, _START, _LOADED, _WORKERS, _SERVED = range(5)
_SLOTS = 256  # workers with a slot of their own; those beyond share the last


class SharedStart:
    """A loaded state is for one pass: each worker takes it once. One writer a field, so nothing is locked.

    Fields: epoch; the position that the loaded state begins at; how many states were loaded; how many workers make the
    pass (0: the process itself); and for each worker the number of the state that it took last.
    """

    def __init__(self) -> None:
        self._fields = torch.zeros(_SERVED + _SLOTS, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    @property
    def workers(self) -> int:
        """How many workers make the pass; 0 while it is this process itself, or nobody."""
        return int(self._fields[_WORKERS])

    def peek(self) -> tuple[int, int]:
        """Epoch and start of the next pass."""
        fresh = self._fields[_SERVED] < self._fields[_LOADED]
        return int(self._fields[_EPOCH]), int(self._fields[_START]) if fresh else 0

    def set_epoch(self, epoch: int) -> None:
        """The next pass is of this epoch: from its start, unless a state of this very epoch was loaded."""
        if epoch != int(self._fields[_EPOCH]):
            self._fields[_START] = 0
        self._fields[_EPOCH] = epoch
        self._fields[_WORKERS] = 0

    def resume(self, epoch: int, start: int) -> None:
        """The next pass begins there."""
        self._fields[_EPOCH], self._fields[_START] = epoch, start
        self._fields[_LOADED] += 1
        self._fields[_WORKERS] = 0

    def take(self, number: int, workers: int, *, in_worker: bool) -> tuple[int, int]:
        """Worker `number` of so many begins a pass; its epoch and start."""
        slot, loaded = _SERVED + min(number, _SLOTS - 1), int(self._fields[_LOADED])
        start = int(self._fields[_START]) if int(self._fields[slot]) < loaded else 0
        if number == workers - 1:
            self._fields[slot:] = loaded  # a later pass may have more workers
        else:
            self._fields[slot] = loaded
        self._fields[_WORKERS] = workers if in_worker else 0
        return int(self._fields[_EPOCH]), start

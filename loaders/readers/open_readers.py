"""`OpenReaders`: the readers of one process, by shard number, within so many shards and so many bytes in use.

What is open cannot be evicted from the cache, so the budget of the cache holds only while this bound does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from ..errors import SampleError
from .reader import Reader


class _Broken:
    """A shard that cannot be opened: not tried again for each of its samples."""

    held_bytes = 0

    def __init__(self, error: SampleError) -> None:
        self.message, self.hint = error.message, error.hint

    def close(self) -> None:
        """Nothing is open."""


class OpenReaders:
    """For one thread. The least recently used one is closed first, before another one opens; one may always be open.

    `expected`: the bytes of a shard, as far as they are known before it is open. `guess`: those of a large one.
    """

    def __init__(
        self,
        open_reader: Callable[[int], Reader],
        expected: Callable[[int], int],
        max_open: int,
        max_bytes: int,
        guess: int,
    ) -> None:
        self._open, self._expected = open_reader, expected
        self._max_open, self._max_bytes, self._guess = max_open, max_bytes, guess
        self._held: OrderedDict[int, Reader | _Broken] = OrderedDict()
        self._largest = 0

    @property
    def held_bytes(self) -> int:
        """What those that are open keep in the cache."""
        return sum(reader.held_bytes for reader in self._held.values())

    @property
    def ahead(self) -> int:
        """Of how many shards samples may be asked for ahead: half of those that can be open, but the next one if any
        other can be.
        """
        fit = max(1, min(self._max_open, self._max_bytes // (self._largest or self._guess)))
        return max(fit // 2, min(fit, 2))

    @property
    def open(self) -> list[Reader]:
        """Those that can be read."""
        return [found for found in self._held.values() if not isinstance(found, _Broken)]

    def is_open(self, number: int) -> bool:
        """Whether the shard is open, and can be read."""
        found = self._held.get(number)
        return found is not None and not isinstance(found, _Broken)

    def __call__(self, number: int) -> Reader:
        """The reader of a shard. Raises what opening it raises; `SampleError`, each time, until `begin`."""
        found = self._held.get(number)
        if found is None:
            found = self._admit(number)
        else:
            self._held.move_to_end(number)
        if isinstance(found, _Broken):
            raise SampleError(found.message, hint=found.hint)
        return found

    def _admit(self, number: int) -> Reader | _Broken:
        expected = self._expected(number)
        while self._held and (len(self._held) >= self._max_open or self.held_bytes + expected > self._max_bytes):
            self._close_oldest()
        try:
            found: Reader | _Broken = self._open(number)
        except SampleError as error:
            found = _Broken(error)
        self._held[number] = found
        self._largest = max(self._largest, found.held_bytes)
        while len(self._held) > 1 and self.held_bytes > self._max_bytes:  # what it holds, it may say itself
            self._close_oldest()
        return found

    def _close_oldest(self) -> None:
        self._held.popitem(last=False)[1].close()

    def begin(self) -> None:
        """Before a pass: what could not be opened is tried again."""
        for number in [number for number, found in self._held.items() if isinstance(found, _Broken)]:
            del self._held[number]

    def close(self) -> None:
        """Close all. Idempotent."""
        while self._held:
            self._close_oldest()

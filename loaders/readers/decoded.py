"""`DecodedRows`: row groups of all shards of a process, decoded once, the next ones while the current one is read.

Two threads decode ahead (Arrow lets go of the GIL); nothing depends on how far they have come but the time. The bound
on bytes holds for all that is decoded or being decoded, but for the one group that is read now. Groups of which some
rows were read come first: a shuffle takes rows of all of them by turns, and one that was dropped is decoded again. What
they leave is for groups that nobody has read yet, a quarter of the bound at least and a half at most; and, up to a
quarter, for those of which every row was read: only the next pass needs them, and to decode into memory that was used
before takes a third of the time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice

from ..errors import SampleError
from .values import Rows

_THREADS = 2
_MAX_RUNNING = 16  # groups in a thread or waiting for one: it may get the GIL every 5 ms only, and needs a backlog
_MAX_AHEAD = 256  # groups that nobody has read yet
_MAX_SPENT = 4096  # groups that were read to their end, however small
_MAX_LOOKED = 8  # groups that are looked at in one go, whether their bytes have come
_LOOK_EVERY = 64  # requests for groups that wait for their bytes: a look costs some µs

Key = tuple[str, int]  # path of the shard, number of the group
Decode = Callable[[], Rows]


class _Broken:
    """A group that cannot be decoded: not tried again for each of its rows."""

    bytes = 0

    def __init__(self, error: SampleError) -> None:
        self.message, self.hint = error.message, error.hint


class _Coming:
    """A group in a thread. `bytes`: what its shard says it takes, until it is decoded and known."""

    def __init__(self, decode: Decode, size: int, pool: ThreadPoolExecutor) -> None:
        self.bytes, self.done, self._decode = size, False, decode
        self._future: Future[Rows | _Broken] = pool.submit(self._run)

    def _run(self) -> Rows | _Broken:
        try:
            rows: Rows | _Broken = _decoded(self._decode)
            self.bytes = rows.bytes
            return rows
        finally:
            self.done = True

    def take(self) -> Rows | _Broken:
        """The group; decoded here if no thread has begun."""
        if not self._future.cancel():
            return self._future.result()
        self.done = True
        return _decoded(self._decode)


class DecodedRows:
    """For one thread, which alone calls it. Least recently used first out."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._held: OrderedDict[Key, Rows | _Broken] = OrderedDict()
        self._held_bytes = 0
        self._spent: OrderedDict[Key, int] = OrderedDict()  # bytes of those that are held and were read to their end
        self._spent_bytes = 0
        self._coming: dict[Key, _Coming] = {}
        self._running: list[_Coming] = []
        self._wanted: OrderedDict[Key, tuple[int, Callable[[], Decode | None]]] = OrderedDict()
        self._full = False  # no room for the next wanted group until one is read
        self._requests = 0
        self._pool: ThreadPoolExecutor | None = None

    def begin(self) -> None:
        """A pass begins: what an abandoned one wanted is not decoded, and keeps no shard open."""
        self._wanted.clear()
        self._full = False
        for held in self._held.values():
            if isinstance(held, Rows):
                held.unread = held.count

    def forget(self, path: str, *, views: bool) -> None:
        """A shard is closed: none of its groups can be begun any more. Those that are decoded stay, unless they are
        `views` of a file: its space on the disk, and a descriptor, would stay as well.
        """
        for key in [key for key in self._wanted if key[0] == path]:
            del self._wanted[key]
        for key in [key for key in self._held if views and key[0] == path]:
            self._drop(key)

    def knows(self, key: Key) -> bool:
        """Whether the group is here, or coming."""
        return key in self._held or key in self._coming

    def want(self, key: Key, size: int, start: Callable[[], Decode | None]) -> None:
        """Decode the group ahead if there is room for `size` bytes. `start` gives what does it, once its bytes came."""
        if size > self.max_bytes // 4:
            return
        self._requests += 1
        if key not in self._wanted:
            self._wanted[key] = (size, start)
        elif self._requests % _LOOK_EVERY:
            return
        self._start_some()

    def _start_some(self) -> None:
        self._running = [each for each in self._running if not each.done]
        room = _MAX_RUNNING - len(self._running)
        if room <= 0 or self._full or len(self._coming) >= _MAX_AHEAD:
            return
        used, left = self._coming_bytes(), self.max_bytes - (self._held_bytes - self._spent_bytes)
        limit = max(self.max_bytes // 4, min(self.max_bytes // 2, left))
        for key in list(islice(self._wanted, _MAX_LOOKED)):
            size, start = self._wanted[key]
            self._full = used + size > limit
            if self._full or not room:
                return
            decode = start()
            if decode is not None:
                del self._wanted[key]
                self._pool = self._pool or ThreadPoolExecutor(_THREADS, thread_name_prefix="decode")
                self._coming[key] = coming = _Coming(decode, size, self._pool)
                self._running.append(coming)
                self._make_room()
                room, used = room - 1, used + size

    def _coming_bytes(self) -> int:
        return sum(each.bytes for each in self._coming.values())

    def get(self, key: Key, load: Callable[[int], Rows], group: int) -> Rows:
        """A group, loaded here and now if need be. Raises `SampleError`, each time, for one that cannot be."""
        found = self._held.get(key)
        if found is None:
            self._wanted.pop(key, None)
            coming = self._coming.pop(key, None)
            found = coming.take() if coming is not None else _decoded(partial(load, group))
            self._full = False
            self._keep(key, found)
            self._start_some()
        else:
            self._held.move_to_end(key)
            if key in self._spent:  # the next pass has come to it
                self._spent_bytes -= self._spent.pop(key)
        if isinstance(found, _Broken):
            raise SampleError(found.message, hint=found.hint)
        return found

    def spend(self, key: Key, rows: Rows) -> None:
        """A pass has read all rows of the group: it goes first."""
        rows.unread = rows.count
        if self._held.get(key) is not rows:
            return
        self._spent_bytes += rows.bytes - self._spent.pop(key, 0)
        self._spent[key] = rows.bytes
        self._full = False
        while self._spent_bytes > self.max_bytes // 4 or len(self._spent) > _MAX_SPENT:
            self._drop_spent()

    def _drop_spent(self) -> None:
        """The one that was read to its end first, unless the next pass has come to it."""
        oldest = next(iter(self._spent))
        held = self._held[oldest]
        if isinstance(held, Rows) and held.unread == held.count:
            self._drop(oldest)
        else:
            self._spent_bytes -= self._spent.pop(oldest)

    def _drop(self, key: Key) -> None:
        self._held_bytes -= self._held.pop(key).bytes
        self._spent_bytes -= self._spent.pop(key, 0)

    def _keep(self, key: Key, rows: Rows | _Broken) -> None:
        self._held[key] = rows
        self._held_bytes += rows.bytes
        self._make_room()

    def _make_room(self) -> None:
        room = self.max_bytes - self._coming_bytes()
        while self._held_bytes > room and len(self._held) > 1:
            if self._spent:
                self._drop_spent()
            else:
                self._drop(next(iter(self._held)))


def _decoded(decode: Decode) -> Rows | _Broken:
    try:
        return decode()
    except SampleError as error:
        return _Broken(error)

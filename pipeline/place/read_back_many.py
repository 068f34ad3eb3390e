"""`read_back_many`: a block of each of many roots, asked of whoever promised to keep them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

from ...storage.blocks.disk import DiskStore
from ...storage.errors import ConfigError, HoldfastError, UnavailableError
from ...storage.printable import printable
from ...storage.sources.source import Source
from ...storage.sources.watch import Watch
from .at_once import each
from .placing import now_us
from .read_back import DEADLINE_S, ReadBack
from .state import NOTHING_HERE, Placed
from .trying import check

_READING = 8  # answers at once
_LEAVES = 1  # of each root
_NOTED = 500  # roots of one transaction
_GIVE_UP = 50  # roots in a row that were not read back: thousands more are not asked for

Note = Callable[[list[Placed]], None]


def read_back_many(
    store: DiskStore, promised: Iterable[Placed], source: Source, stop: threading.Event, note: Note
) -> None:
    """Give each row to `note` as it is then, many at a time, also when it ends early.

    Raises `UnavailableError` when 50 in a row were not read back, `Stopped`, and what `note` raises.
    """
    gathered = _Gathered(note)
    with Watch(DEADLINE_S) as watch:
        try:
            each(promised, lambda one: gathered.add(_read_back(store, one, source, stop, watch)), stop, _READING)
        finally:
            gathered.flush()


class _Gathered:
    """Rows until there are enough of them to be noted. Safe between threads."""

    def __init__(self, note: Note) -> None:
        self._note, self._rows, self._failed = note, list[Placed](), 0
        self._lock = threading.Lock()

    def add(self, row: Placed) -> None:
        """One more. Raises `UnavailableError` where it is the last of too many that failed."""
        with self._lock:
            self._rows.append(row)
            self._failed = self._failed + 1 if row.failed else 0
            if len(self._rows) >= _NOTED:
                self.flush()
            if self._failed >= _GIVE_UP:
                raise UnavailableError(f"{_GIVE_UP} in a row were not read back; {row.message}")

    def flush(self) -> None:
        """Note what is there."""
        rows, self._rows = self._rows, []
        if rows:
            self._note(rows)


def _read_back(store: DiskStore, one: Placed, source: Source, stop: threading.Event, watch: Watch) -> Placed:
    try:
        read_back = ReadBack(store, one.root, _LEAVES, by_blocks=True)
        problem = read_back.problem(source, lambda: check(stop), watch) if read_back.possible else ""
    except ConfigError as error:  # of the provider's entry in the roster: a file of certificates, say
        return replace(one, message=f"nothing was read back: {printable(error.message)}")
    except HoldfastError as error:
        return replace(one, message=f"nothing was read back: the repository here: {printable(error.message)}")
    if not read_back.possible:
        return replace(one, message=NOTHING_HERE)
    if problem:
        return replace(one, message=f"it says pinned, but {printable(problem)}")
    return replace(one, message="", proven_us=now_us(), leaves=_LEAVES)

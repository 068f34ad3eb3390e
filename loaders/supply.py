"""`Supply`: who makes the leaves of one cached file appear. `OwnSupply` does it with an engine of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from ..storage.errors import UnavailableError
from ..storage.fetch.engine import FetchEngine
from ..storage.sources.source import FileRef
from .spare import CachedFile

_POLL_S = 0.002  # how often to look whether another process has fetched what it claimed
BEAT_S = 5.0  # how often a wait tells whoever waits behind it that it goes on
_SWEEP = 256  # leaves asked for before those that came are forgotten


class Supply(Protocol):
    """Leaves are named by number; those that are here already need not be asked for."""

    def ask(self, missing: Sequence[int], urgency: float) -> list[int]:
        """Ask for leaves that are not here, without waiting. Returns those that were not asked for before."""

    def bring(self, missing: Sequence[int]) -> None:
        """Wait until at least one of these is here. Raises what `FetchEngine.wait` raises."""

    def close(self) -> None:
        """Drop what is still wanted. Idempotent."""


class OwnSupply:
    """One engine, one process; several processes share the cache by claims. Safe from any thread.

    A leaf is fetched by the process that claims it; the others watch its mark. The kernel frees the claims of a
    process that dies, and whoever waits takes them over.
    """

    def __init__(self, ref: FileRef, file: CachedFile, engine: FetchEngine) -> None:
        self._ref, self._file, self._engine = ref, file, engine
        self._handle = engine.open_file(ref, file)
        self._mine: set[int] = set()  # asked for by this process; their claims end when they are written
        self._sweep_at = _SWEEP
        self._lock = threading.Lock()

    def ask(self, missing: Sequence[int], urgency: float) -> list[int]:
        """See `Supply`."""
        with self._lock:
            if len(self._mine) >= self._sweep_at:
                self._mine = {leaf for leaf in self._mine if not self._file.has(leaf)}
                self._sweep_at = max(2 * len(self._mine), _SWEEP)
            wanted = [leaf for leaf in missing if leaf not in self._mine and self._file.claim(leaf)]
            # between the look and the claim another process may have finished it
            for leaf in [leaf for leaf in wanted if self._file.has(leaf)]:
                wanted.remove(leaf)
                self._file.release(leaf)
            if wanted:
                self._mine.update(wanted)
                self._engine.want(self._handle, wanted, urgency)
            return wanted

    def bring(self, missing: Sequence[int], beat: Callable[[], None] = lambda: None) -> None:
        """See `Supply`. `beat` is called every `BEAT_S` of the wait; what it raises ends it."""
        policy, since = self._engine.policy, time.monotonic()
        beat_at = since + BEAT_S
        while True:
            self.ask(missing, 0.0)
            with self._lock:
                mine = [leaf for leaf in missing if leaf in self._mine]
                again = [leaf for leaf in mine if not self._file.has(leaf)]
            if mine:
                self._engine.want(self._handle, again, 0.0)
                try:
                    while not self._engine.wait(self._handle, mine, timeout_s=BEAT_S):
                        beat()
                finally:
                    with self._lock:
                        self._release([leaf for leaf in mine if leaf in self._mine])
                return
            # another process fetches them: look again soon; it may die, then its claims are free
            if any(self._file.has(leaf) for leaf in missing):
                return
            if time.monotonic() - since > policy.progress_deadline_s * policy.hard_deadline_factor:
                raise UnavailableError(
                    f"leaf {missing[0]} of {self._ref.path} is being fetched by another process that gets nowhere",
                    hint="is a stopped worker still holding the cache?",
                )
            if time.monotonic() > beat_at:
                beat()
                beat_at += BEAT_S
            time.sleep(_POLL_S)

    def _release(self, leaves: Sequence[int]) -> None:
        for leaf in leaves:
            self._mine.discard(leaf)
            self._file.release(leaf)

    def close(self) -> None:
        """See `Supply`."""
        self._engine.close_file(self._handle)
        with self._lock:
            self._release(list(self._mine))  # a worker forked meanwhile would keep the claims of a closed descriptor

"""`LoaderStats`: what a process has read so far, where it came from, and how long it waited. `Meter` counts it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import NamedTuple

from ..storage.fetch.scoreboard import SourceStats
from .fetching import Report


@dataclass(frozen=True, slots=True)
class LoaderStats:
    """A snapshot, of this process and, in our own `DataLoader`, of its workers, as of the batches that were delivered.
    What came from `sources` is what this process fetched, or the fetcher of the cache folder, on these terms, for all
    who share it.

    Bytes: `verified` came from sources, was hashed and was right; `refetched` came beyond what was needed; `hedged` was
    asked of a second source while the first was slow; `cached` was there already when it was first needed, and `missed`
    was not. `stalled_s` is how long the reader waited for bytes, of `seconds` since it first asked for any; of several
    workers the seconds of all together.
    `samples` were built, `skipped` could not be (`on_error="skip"`). `sources`: one each, with requests, verdicts and
    state, in the order given.
    """

    sources: tuple[SourceStats, ...] = ()
    verified_bytes: int = 0
    refetched_bytes: int = 0
    hedged_bytes: int = 0
    cached_bytes: int = 0
    missed_bytes: int = 0
    samples: int = 0
    stalled_s: float = 0.0
    seconds: float = 0.0
    skipped: int = 0

    @property
    def samples_per_s(self) -> float:
        """Since the first bytes were asked for, pauses of the consumer included."""
        return self.samples / self.seconds if self.seconds else 0.0

    @property
    def hit_rate(self) -> float:
        """The part of the bytes needed that was in the cache; 0 to 1."""
        needed = self.cached_bytes + self.missed_bytes
        return self.cached_bytes / needed if needed else 0.0


def total(parts: Sequence[LoaderStats]) -> LoaderStats:
    """Of several datasets of a process, one beside the other: sources in a row, and the longest time."""
    numbers = [field.name for field in fields(LoaderStats) if field.name not in ("sources", "seconds")]
    sums = {name: sum(getattr(part, name) for part in parts) for name in numbers}
    sources = tuple(source for part in parts for source in part.sources)
    return LoaderStats(sources=sources, seconds=max((part.seconds for part in parts), default=0.0), **sums)


class Counts(NamedTuple):
    """What a `Meter` counts, or how much more since it was looked at."""

    samples: int = 0
    skipped: int = 0
    cached_bytes: int = 0
    missed_bytes: int = 0
    stalled_s: float = 0.0


class Meter:
    """Counters of one process; written by the thread that reads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.cached_bytes = self.missed_bytes = self.samples = self.skipped = 0
        self.stalled_s = 0.0
        self._clock = clock
        self._began: float | None = None

    @property
    def seconds(self) -> float:
        """Since `begin`; 0 before."""
        return 0.0 if self._began is None else self._clock() - self._began

    def begin(self) -> None:
        """Somebody reads. What was first counts."""
        if self._began is None:
            self._began = self._clock()

    @property
    def counts(self) -> Counts:
        """So far."""
        return Counts(self.samples, self.skipped, self.cached_bytes, self.missed_bytes, self.stalled_s)

    def add(self, part: Counts) -> None:
        """What somebody else counted."""
        self.samples += part.samples
        self.skipped += part.skipped
        self.cached_bytes += part.cached_bytes
        self.missed_bytes += part.missed_bytes
        self.stalled_s += part.stalled_s

    @contextmanager
    def stall(self) -> Iterator[None]:
        """Bytes are waited for in here, be it those of a manifest page before anything is read."""
        self.begin()
        since = self._clock()
        try:
            yield
        finally:
            self.stalled_s += self._clock() - since

    def snapshot(self, report: Report) -> LoaderStats:
        """As of now."""
        useful = report.useful_bytes
        return LoaderStats(
            report.sources,
            useful,
            max(sum(source.bytes for source in report.sources) - useful, 0),
            report.hedged_bytes,
            self.cached_bytes,
            self.missed_bytes,
            self.samples,
            self.stalled_s,
            self.seconds,
            self.skipped,
        )

"""`ProgressLine`: how a pass is going, as one line on a terminal: samples and bytes a second, cache hits, stalls."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from .stats import LoaderStats

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

_EVERY_S = 0.5
_WINDOW_S = 5.0  # what is meant by "now"
_MAX_SOURCES = 4  # named; the others are counted


class Moment(NamedTuple):
    """What was known at a time: samples delivered, and the statistics of the process that reads."""

    at: float
    delivered: int
    stats: LoaderStats


def words(first: Moment, last: Moment, total: int) -> str:
    """The line, of what happened between two moments. Without what no source, no cache was asked for."""
    seconds, before, now = max(last.at - first.at, 1e-9), first.stats, last.stats
    parts = [f"{last.delivered:,} of {total:,} samples", f"{(last.delivered - first.delivered) / seconds:,.0f}/s"]
    received: Counter[str] = Counter()  # datasets of a mixture may share a source
    for sign, sources in ((1, now.sources), (-1, before.sources)):
        for source in sources:
            received[source.name] += sign * source.bytes
    busy = [(name, count / seconds) for name, count in received.most_common() if count > 0]
    parts += [f"{name} {rate / 1e6:.1f} MB/s" for name, rate in busy[:_MAX_SOURCES]]
    if more := busy[_MAX_SOURCES:]:
        parts.append(f"{len(more)} more {sum(rate for _, rate in more) / 1e6:.1f} MB/s")
    cached, missed = now.cached_bytes - before.cached_bytes, now.missed_bytes - before.missed_bytes
    if cached + missed:
        parts.append(f"{cached / (cached + missed):.0%} cached")
    if now.samples > before.samples and now.cached_bytes + now.missed_bytes:  # else it was workers that read
        parts.append(f"{min((now.stalled_s - before.stalled_s) / seconds, 1.0):.0%} stalled")
    if now.skipped:
        parts.append(f"{now.skipped:,} skipped")
    return " · ".join(parts)


class ProgressLine:
    """On a terminal only, on standard error; elsewhere it says nothing.

    `stats`: as `LoaderStats` says; rates of sources that a fetcher asks are those of all who share it.
    """

    def __init__(
        self,
        total: int,
        stats: Callable[[], LoaderStats],
        batch_size: int = 1,
        *,
        shown: bool = True,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._stats, self._clock = total, stats, clock
        self._batch_size, self._shown = batch_size, shown
        self._console = console
        self._live: Live | None = None
        self._moments: deque[Moment] = deque()
        self._due = 0.0

    def __enter__(self) -> Self:
        if not self._shown:
            return self
        from rich.console import Console
        from rich.live import Live

        console = self._console or Console(stderr=True)
        if console.is_terminal:
            self._live = Live(console=console, auto_refresh=False, transient=True)
            self._live.start()
            self._moments.append(Moment(self._clock(), 0, self._stats()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, batches: int) -> None:
        """So many batches were delivered. Draws twice a second at most."""
        if self._live is None:
            return
        now = self._clock()
        if now < self._due:
            return
        from rich.text import Text

        self._due = now + _EVERY_S
        self._moments.append(Moment(now, min(batches * self._batch_size, self._total), self._stats()))
        while len(self._moments) > 2 and now - self._moments[0].at > _WINDOW_S:
            self._moments.popleft()
        line = words(self._moments[0], self._moments[-1], self._total)
        self._live.update(Text(line, overflow="ellipsis", no_wrap=True), refresh=True)

"""Throughput over time: bytes received from each source, sampled while training runs."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from ..loaders.dataset import StreamingDataset

_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Mark:
    """An event: what, at which step, at which second of the run, and how many bytes had come by then."""

    label: str
    step: int
    at_s: float
    bytes: int


@dataclass
class Meter:
    """Samples a dataset's statistics in a thread of its own. Use as a context manager around a run."""

    dataset: StreamingDataset
    times_s: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    def __enter__(self) -> Meter:
        self._stop = threading.Event()
        self._begun = time.monotonic()
        self._thread = threading.Thread(target=self._loop, name="meter", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def _loop(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self._sample()

    def _sample(self) -> None:
        self.times_s.append(time.monotonic() - self._begun)
        self.bytes.append(self.total())

    def total(self) -> int:
        """Bytes received from all sources so far."""
        return sum(source.bytes for source in self.dataset.stats().sources)

    def mark(self, label: str, step: int) -> None:
        """Note an event that happens now."""
        self.marks.append(Mark(label, step, time.monotonic() - self._begun, self.total()))

    def rate(self, start_s: float, end_s: float) -> float:
        """Mean bytes per second between two moments."""
        inside = [(at, count) for at, count in zip(self.times_s, self.bytes, strict=True) if start_s <= at <= end_s]
        if len(inside) < 2:
            return 0.0
        (first_at, first), (last_at, last) = inside[0], inside[-1]
        return (last - first) / max(last_at - first_at, 1e-9)

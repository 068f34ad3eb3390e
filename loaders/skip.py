"""Samples that cannot be built: raised, or left out and counted. What is left out leaves a hole at its position.

A hole counts as consumed: the state of a pass is by position, so whoever goes on from it finds the same ones. In a
batch of `holdfast.DataLoader` a hole is nothing (the batch is shorter), because torch deals whole batches to workers:
a batch that drew another sample in its place would take a position that its worker was to deliver one batch later.
A batch of nothing else does not come, but where there are several ranks: there another batch comes in its place, so
that all of them make as many steps, and a state that any of them saved is that of all.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any, Literal, NamedTuple, get_args

from ..storage.errors import ConfigError
from .errors import SampleError
from .stats import Counts, Meter

LOG = logging.getLogger("holdfast.loader")

OnError = Literal["raise", "skip"]
ON_ERROR: tuple[OnError, ...] = get_args(OnError)


class Hole(Enum):
    """What stands for a sample that was left out. An enum, so that it is the same one behind a pickle."""

    HOLE = "hole"


HOLE = Hole.HOLE


def checked_on_error(on_error: str) -> bool:
    """Whether samples are skipped. Raises `ConfigError` for what is no choice."""
    if on_error not in ON_ERROR:
        raise ConfigError(f"on_error={on_error!r}", hint=f"expected one of {', '.join(ON_ERROR)}")
    return on_error == "skip"


class Skipper:
    """Turns the `SampleError` of one pass into holes, and says at the end of the pass how many there were."""

    def __init__(self, meter: Meter, what: str) -> None:
        self._meter, self._what = meter, what
        self._count, self._first = 0, ""

    def hole(self, error: SampleError) -> Hole:
        """Count it."""
        self._meter.skipped += 1
        self._count += 1
        self._first = self._first or error.message
        return HOLE

    def say(self) -> None:
        """Warn, once, if there was any."""
        if self._count:
            LOG.warning("%s: %d samples were left out; the first: %s", self._what, self._count, self._first)
            self._count = 0


def without_holes(samples: Iterable[Any]) -> Iterator[Any]:
    """The samples among them."""
    return (sample for sample in samples if sample is not HOLE)


class Counted(NamedTuple):
    """A batch, or `HOLE`, and what its worker has done since the batch before."""

    batch: Any
    done: Counts


class Collate:
    """A `collate_fn` that sees no holes, and counts; a batch of nothing else is a hole itself.

    `meters`: of the process that it is called in, whose bytes are counted as well.
    """

    def __init__(self, collate: Callable[[list[Any]], Any], meters: Callable[[], list[Meter]]) -> None:
        self.collate, self._meters = collate, meters
        self._seen: tuple[int, int, float] | None = None

    def __call__(self, samples: list[Any]) -> Counted:
        """The batch of what is there."""
        found = list(without_holes(samples))
        batch = self.collate(found) if found or not samples else HOLE
        return Counted(batch, Counts(len(found), len(samples) - len(found), *self._bytes()))

    def _bytes(self) -> tuple[int, int, float]:
        counts = [meter.counts for meter in self._meters()]
        now = (
            sum(part.cached_bytes for part in counts), sum(part.missed_bytes for part in counts),
            sum(part.stalled_s for part in counts),
        )  # fmt: skip
        before, self._seen = self._seen or (0, 0, 0.0), now
        return now[0] - before[0], now[1] - before[1], now[2] - before[2]


def in_step(batches: Iterable[Any], stand_in: Callable[[], Any]) -> Iterator[Any]:
    """As many batches, none of them a hole: in its place the one behind it comes twice, or at the end the one before.
    `stand_in` makes a batch where there is neither.

    What comes twice is copied, if it can be: whoever changes a batch in place changes no other. So a batch is held
    until the one behind it is known.
    """
    held: Any = HOLE
    spare: Any = HOLE
    waiting = 0
    for batch in batches:
        if batch is HOLE:
            waiting += 1
            if held is not HOLE:
                spare = _copied(held)
                yield held
                held = HOLE
            continue
        if held is not HOLE:
            yield held
        yield from (_copied(batch) for _ in range(waiting))
        held, spare, waiting = batch, HOLE, 0
    if held is not HOLE:
        yield held
    if waiting:
        spare = stand_in() if spare is HOLE else spare
        yield from (_copied(spare) for _ in range(waiting))


def _copied(batch: Any) -> Any:
    try:
        return copy.deepcopy(batch)
    except Exception:  # noqa: BLE001 whatever it is made of: views of memory, tensors with a graph, open files
        return batch

"""Samples that cannot be built: raised, or left out and counted. What is left out leaves a hole at its position.

A hole counts as consumed: the state of a pass is by position, so whoever goes on from it finds the same ones. In a
batch of `holdfast.DataLoader` a hole is nothing (the batch is shorter), because torch deals whole batches to workers:
a batch that drew another sample in its place would take a position that its worker was to deliver one batch later.
A batch of nothing else does not come, but where ranks wait for each other: there another batch comes in its place.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any, Literal, get_args

from ..storage.errors import ConfigError
from .errors import SampleError
from .stats import Meter

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


class Collate:
    """A `collate_fn` that sees no holes; a batch of nothing else is a hole itself."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: list[Any]) -> Any:
        """The batch of what is there."""
        found = list(without_holes(samples))
        return self.collate(found) if found or not samples else HOLE


def in_step(batches: Iterable[Any]) -> Iterator[Any]:
    """As many batches, none of them a hole: the one before comes again, or where there is none, the one behind.

    What comes twice is copied: whoever changes a batch in place changes no other. Raises `SampleError` when all of the
    pass, or of what is left of it, are holes: other ranks would wait for this one.
    """
    last: Any = HOLE
    waiting = 0
    for batch in batches:
        if batch is not HOLE:
            last = copy.deepcopy(batch)
            yield from (copy.deepcopy(batch) for _ in range(waiting))
            waiting = 0
            yield batch
        elif last is HOLE:
            waiting += 1
        else:
            yield copy.deepcopy(last)
    if waiting:
        raise SampleError(
            "every sample of this rank was left out, in what was left of the pass", hint='on_error="raise" says why'
        )

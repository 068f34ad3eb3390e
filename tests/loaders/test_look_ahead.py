"""How far the loader looks ahead of its consumer: what is due does not wait for what comes much later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from holdfast.loaders.batches import Rows, stream_batches
from holdfast.loaders.stream import Place, stream

SHARDS = 64


class Opened:
    """Readers, and columns, that note which shards somebody needed; each would be a few round trips away."""

    ahead = SHARDS // 2

    def __init__(self) -> None:
        self.shards: set[int] = set()

    def is_open(self, number: int) -> bool:
        return number in self.shards

    def __call__(self, number: int) -> Any:
        self.shards.add(number)
        return self

    def prefetch(self, what: Any, urgency: float) -> int:
        if isinstance(what, Rows):
            self.shards.update(what.shards.tolist())
        return 0  # small shards: opening them has fetched all of them

    def sample(self, index: int) -> dict[str, Any]:
        return {"__key__": str(index)}

    def locate(self, batches: Any) -> list[Rows]:
        return [Rows(batch, batch // 4, batch % 4) for batch in batches]

    def take(self, rows: Rows) -> dict[str, Any]:
        return {"index": rows.indices}


def _places(indices: Any) -> Iterator[Place]:
    return (Place(index, index // 4, index % 4) for index in indices.tolist())


def test_a_sample_waits_for_two_shards_that_only_later_ones_need() -> None:
    readers = Opened()
    samples = np.arange(SHARDS)[None, :] + np.zeros((1, 1), dtype=np.int64)
    found = stream(iter(4 * samples), _places, readers, 1 << 20)  # each sample is the only one of its shard
    for given, _ in enumerate(found, 1):
        assert len(readers.shards) <= 2 * given + 1
        ahead = len(readers.shards) - given
        assert ahead >= min(given // 2, readers.ahead - 1, SHARDS - given)  # and still it gets ahead
    assert len(readers.shards) == SHARDS


def test_so_does_a_batch() -> None:
    columns = Opened()
    batches = [np.arange(8 * at, 8 * at + 8) for at in range(SHARDS // 2)]  # two shards each
    for given, _ in enumerate(
        stream_batches(iter(batches), columns, 1 << 20, lambda: columns.ahead, columns.is_open), 1
    ):
        assert len(columns.shards) <= 2 * (2 * given + 2)
    assert len(columns.shards) == SHARDS


def test_what_is_open_is_looked_ahead_at_without_that_bound() -> None:
    readers, asked = Opened(), []
    readers.shards = set(range(SHARDS))
    readers.prefetch = lambda what, urgency: asked.append(what) or 0  # type: ignore[method-assign,func-returns-value]
    found = stream(iter([4 * np.arange(SHARDS)]), _places, readers, 1 << 20)
    for _ in range(6):
        next(found)
    assert len(asked) >= readers.ahead
    asked.clear()
    batches = [np.arange(8 * at, 8 * at + 8) for at in range(SHARDS // 2)]
    given = stream_batches(iter(batches), readers, 1 << 20, lambda: readers.ahead, readers.is_open)
    for _ in range(5):
        next(given)
    assert len(asked) >= readers.ahead // 2

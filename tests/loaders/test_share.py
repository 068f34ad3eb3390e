"""Who delivers which positions: every share of every world, and worlds that go on where another one stopped. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.loaders.share import TAILS, Share, Tail

SAMPLES = st.integers(0, 400)
SMALL = st.integers(1, 9)


def positions(share: Share, skip: int = 0, chunk: int = 7) -> list[int]:
    parts = list(share.positions(skip, chunk))
    return np.concatenate(parts).tolist() if parts else []


@given(SAMPLES, SMALL, SMALL, SMALL, st.integers(0, 400), st.sampled_from(TAILS))
def test_workers_cut_a_ranks_share_into_its_batches(
    samples: int, world: int, workers: int, size: int, start: int, tail: Tail
) -> None:
    for rank in range(world):
        alone = positions(Share(samples, rank, world, start=start, tail=tail))
        parts = [positions(Share(samples, rank, world, w, workers, size, start, tail)) for w in range(workers)]
        batches: list[int] = []
        for number in range(-(-len(alone) // size)):
            worker, at = number % workers, number // workers * size
            batches += parts[worker][at : at + size]
        assert batches == alone
        assert len(alone) == Share(samples, rank, world, start=start, tail=tail).rank_samples


@given(SAMPLES, SMALL, SMALL, SMALL, st.integers(0, 60), st.sampled_from(TAILS))
def test_a_share_without_its_first_samples_is_the_rest_of_it(
    samples: int, world: int, workers: int, size: int, skip: int, tail: Tail
) -> None:
    for worker in range(workers):
        share = Share(samples, world - 1, world, worker, workers, size, 0, tail)
        assert positions(share, skip) == positions(share)[skip:]


@given(SAMPLES, SMALL)
def test_tails(samples: int, world: int) -> None:
    shares = {tail: [positions(Share(samples, rank, world, tail=tail)) for rank in range(world)] for tail in TAILS}
    found = {tail: Counter(position for share in of for position in share) for tail, of in shares.items()}
    assert found["exact"] == Counter(range(samples))
    assert max(map(len, shares["exact"])) - min(map(len, shares["exact"])) <= 1
    assert found["drop"] == Counter(range(samples // world * world))
    assert len({len(share) for share in shares["drop"]}) == 1
    assert found["repeat"] >= Counter(range(samples))
    assert found["repeat"].total() - samples < world
    assert len({len(share) for share in shares["repeat"]}) == 1


@given(SAMPLES, st.lists(st.tuples(SMALL, st.integers(0, 40)), max_size=6), SMALL)
def test_worlds_of_any_size_take_turns_and_every_position_comes_once(
    samples: int, stops: list[tuple[int, int]], last: int
) -> None:
    """As with W = 4, then 3, then 5: each world delivers so many samples a rank, and is stopped."""
    start, seen = 0, list[int]()
    for world, delivered in [*stops, (last, samples + 1)]:
        shares = [Share(samples, rank, world, start=start, tail="exact") for rank in range(world)]
        parts = [positions(share)[:delivered] for share in shares]
        seen += [part[step] for step in range(delivered) for part in parts if step < len(part)]
        start = shares[0].position_behind(delivered)
    assert seen == list(range(samples)), "and in the one global order"
    assert start == samples


@pytest.mark.parametrize("tail", TAILS)
def test_the_first_position_of_a_million_million_takes_no_time(tail: Tail) -> None:
    share = Share(10**12, 3, 7, 1, 4, 32, 5 * 10**11 + 1, tail)
    expected: list[Any] = [(5 * 10**11 + 1) + (32 * (1 + 4 * 10**8) + at) * 7 + 3 for at in range(32)]
    assert next(share.positions(32 * 10**8, chunk=1)).tolist() == expected

"""Cuts by content: where they lie depends on what is beside them, and on nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.pipeline.pack.cuts import Cuts

SIZE = 1000
RADIUS = SIZE // 5

Sample = tuple[int, bytes]  # bytes, priority

few = st.lists(st.tuples(st.integers(1, 60), st.binary(max_size=1)), max_size=300)
odd = st.lists(st.tuples(st.sampled_from([0, 1, RADIUS - 1, RADIUS, RADIUS + 1, 590, 610, SIZE, 3 * SIZE]),
                         st.binary(max_size=1)), max_size=60)  # fmt: skip


def cut(samples: Sequence[Sample], size: int = SIZE) -> list[int]:
    """The samples before which there is a cut."""
    cuts: Cuts[int] = Cuts(size)
    for number, (length, key) in enumerate(samples):
        cuts.add(length, key, number)
    cuts.finish()
    starts = begins(samples)
    assert all(starts[number] == at for at, number in cuts.found)
    return [number for _, number in cuts.found]


def begins(samples: Sequence[Sample]) -> list[int]:
    """Where each sample begins, and where the last one ends."""
    return [0, *accumulate(length for length, _ in samples)]


def by_definition(samples: Sequence[Sample], radius: int = RADIUS) -> set[int]:
    """The samples that are lower than all around them."""
    starts = begins(samples)
    found = set()
    for number, (_, key) in enumerate(samples):
        at = starts[number]
        around = [
            (other, n) for n, (_, other) in enumerate(samples) if abs(starts[n] - at) < radius and n != number
        ]  # fmt: skip
        if radius <= at <= starts[-1] - radius and all((key, number) < each for each in around):
            found.add(number)
    return found


def shards(samples: Sequence[Sample], size: int = SIZE) -> list[tuple[Sample, ...]]:
    borders = [0, *cut(samples, size), len(samples)]
    return [tuple(samples[a:b]) for a, b in pairwise(borders)]


def bytes_of(shard: Sequence[Sample]) -> int:
    return sum(length for length, _ in shard)


def noise(numbers: random.Random, count: int) -> list[Sample]:
    return [(numbers.randrange(1, 40), numbers.randbytes(8)) for _ in range(count)]


@given(few | odd)
def test_a_cut_is_where_the_definition_says_or_where_a_shard_would_be_too_long(samples: list[Sample]) -> None:
    found, natural, starts = cut(samples), by_definition(samples), begins(samples)
    assert found == sorted(set(found))
    assert natural <= set(found)
    borders = [0, *sorted(natural), len(samples)]
    for a, b in pairwise(borders):
        if starts[b] - starts[a] <= SIZE:
            assert not any(a < number < b for number in found), "cut though it is short enough"


@given(few | odd)
def test_no_shard_is_longer_than_it_may_be_unless_it_is_one_sample(samples: list[Sample]) -> None:
    for shard in shards(samples):
        longer = [length for length, _ in shard if length]
        assert bytes_of(shard) <= SIZE or len(longer) == 1


@given(few, st.integers(0, 300))
def test_one_that_goes_on_from_a_state_cuts_alike(samples: list[Sample], at: int) -> None:
    cuts: Cuts[int] = Cuts(SIZE)
    for number, (length, key) in enumerate(samples):
        if number == at:
            cuts = Cuts.parse(SIZE, json.loads(json.dumps(cuts.state())), int)
        cuts.add(length, key, number)
    cuts.finish()
    assert [number for _, number in cuts.found] == cut(samples)


@pytest.mark.parametrize("state", [None, [], [1, 2], [0, 0, 0, None, [], [[1, "no hex", 1, True]], []], {"a": 1}])
def test_what_is_no_state_is_refused(state: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        Cuts.parse(SIZE, state, int)


@pytest.mark.parametrize("kinds", [1, 2, 3])
def test_samples_that_repeat_are_cut_by_length(kinds: int) -> None:
    samples = [(10, b"%d" % (n % kinds)) for n in range(5000)]
    found = [bytes_of(shard) for shard in shards(samples)]
    assert max(found) <= SIZE
    assert min(found[:-1]) >= 2 * RADIUS


@pytest.mark.parametrize("kinds", [1, 2, 7])
def test_samples_that_repeat_take_no_memory(kinds: int) -> None:
    cuts: Cuts[int] = Cuts(100 * SIZE)
    for number in range(20_000):
        cuts.add(10, b"%d" % (number % kinds), number)
        assert len(cuts._window) <= 2 * kinds


def test_random_ones_are_two_radii_long_in_the_mean_and_few_are_kept_in_mind() -> None:
    numbers = random.Random(3)
    cuts: Cuts[int] = Cuts(100 * SIZE)
    most = 0
    for number in range(100_000):
        cuts.add(numbers.randrange(1, 40), numbers.randbytes(8), number)
        most = max(most, len(cuts._window) + len(cuts._marks))
    assert most < 50
    found = [bytes_of(shard) for shard in shards(noise(numbers, 60_000))]
    assert 1.9 < sum(found) / len(found) / RADIUS < 2.1
    assert min(found) >= RADIUS


def test_appending_moves_no_cut() -> None:
    numbers = random.Random(4)
    samples = noise(numbers, 10_000)
    old = cut(samples)
    for count in (1, 10, 100, 1000):
        assert cut(samples + noise(numbers, count))[: len(old)] == old


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("how", ["insert", "delete", "edit"])
def test_an_edit_touches_the_shards_that_it_falls_in_and_one_more_at_most(how: str, seed: int) -> None:
    numbers = random.Random(f"{seed} {how}")
    samples = noise(numbers, 8000)
    before = shards(samples)
    for _ in range(40):
        count = numbers.choice([1, 1, 3, 30, 300])
        at = numbers.randrange(1, len(samples) - count)
        new = [] if how == "delete" else noise(numbers, count)
        edited = samples[:at] + new + samples[at if how == "insert" else at + count :]
        after = shards(edited)
        touched = len(set(after) - set(before))
        # of a cut, both shards are its own
        own_before = _hit(before, at - 1, at + (1 if how == "insert" else count))
        own_after = _hit(after, at - 1, at + max(1, len(new)))
        assert touched <= max(own_before, own_after) + 1, f"seed {seed}, {how} of {count} at {at}"


def _hit(found: Sequence[Sequence[Sample]], start: int, end: int) -> int:
    borders = [0, *accumulate(map(len, found))]
    return sum(a < end and b > start for a, b in pairwise(borders))

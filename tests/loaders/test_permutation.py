"""The permutation is one, in both spellings, for every size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.loaders.permutation import (
    MAX_SIZE,
    ROUNDS,
    Permutation,
    half_bits,
    mix,
    mix_array,
    permute,
    round_keys,
    round_keys_array,
)

U64 = st.integers(0, 2**64 - 1)


def test_mix_is_the_published_splitmix64():
    # Vigna's reference code from state 0: the state advances by gamma, then comes the finaliser.
    gamma = 0x9E3779B97F4A7C15
    assert [mix(i * gamma % 2**64) for i in range(3)] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


@pytest.mark.parametrize("size", [*range(1, 70), 255, 256, 257, 1000, 1023, 1024, 1025, 4097])
def test_every_index_is_hit_once_and_the_inverse_leads_back(size):
    permutation = Permutation(size, round_keys(size * 977, 0))
    image = [permutation.forward(i) for i in range(size)]
    assert sorted(image) == list(range(size))
    assert [permutation.backward(i) for i in image] == list(range(size))


@settings(deadline=None, max_examples=60)
@given(U64, st.integers(0, MAX_SIZE), st.integers(1, MAX_SIZE), st.data())
def test_arrays_agree_with_integers_and_inverses_hold_at_any_size(master, number, size, data):
    indices = data.draw(st.lists(st.integers(0, size - 1), max_size=8))
    keys = round_keys(master, number)
    permutation = Permutation(size, keys)
    array = np.array(indices, np.uint64)
    expected = [permutation.forward(i) for i in indices]
    assert permute(array, size, np.array(keys, np.uint64)[:, None]).tolist() == expected
    assert array.tolist() == indices
    assert [permutation.backward(i) for i in expected] == indices


@settings(deadline=None, max_examples=60)
@given(U64, st.lists(st.integers(0, MAX_SIZE), min_size=1, max_size=6))
def test_keys_of_an_array_agree_with_keys_of_integers(master, numbers):
    keys = round_keys_array(master, np.array(numbers, np.uint64))
    assert keys.shape == (ROUNDS, len(numbers))
    assert [tuple(column) for column in keys.T.tolist()] == [round_keys(master, n) for n in numbers]


@given(st.lists(U64, max_size=8))
def test_mix_of_an_array_agrees_with_mix_of_integers(values):
    assert mix_array(np.array(values, np.uint64)).tolist() == [mix(v) for v in values]


def test_keys_of_runs_and_blocks_never_coincide():
    keys = [key for number in range(2000) for key in round_keys(7, number)]
    assert len(set(keys)) == len(keys)


@given(st.integers(1, MAX_SIZE))
def test_the_domain_is_less_than_four_times_the_size(size):
    half = half_bits(size)
    assert size <= 4**half < max(5, 4 * size)


@pytest.mark.parametrize("size", [2, 3, 5, 8, 16])
def test_each_element_lands_everywhere_about_equally_often(size):
    tries = 3000
    counts = np.zeros((size, size))
    for master in range(tries):
        permutation = Permutation(size, round_keys(mix(master), 0))
        for i in range(size):
            counts[i, permutation.forward(i)] += 1
    # Six standard deviations of a fair count: a wrong half, mask or key would miss it by far.
    fair = tries / size
    assert np.abs(counts - fair).max() < 6 * fair**0.5


def test_sizes_and_indices_out_of_range_are_the_callers_mistake():
    for size in (0, -1, MAX_SIZE + 1):
        with pytest.raises(ValueError, match="1 to 2"):
            Permutation(size, round_keys(0, 0))
    for index in (-1, 5):
        with pytest.raises(ValueError, match="outside"):
            Permutation(5, round_keys(0, 0)).forward(index)

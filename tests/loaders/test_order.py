"""The order: each sample once, the same for everyone, and the numbers of docs/order.md for ever.

`python tests/loaders/test_order.py` writes the vectors again. They may grow; a changed number is a broken
promise.
"""

# ruff: noqa: N803, N806 (the letters of docs/order.md)

from __future__ import annotations

import hashlib
import itertools
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.loaders.order import (
    CHUNK,
    Order,
    OrderParameters,
    suggest_parameters,
)
from holdfast.loaders.permutation import MAX_SIZE, round_keys
from holdfast.loaders.share import Share
from holdfast.storage.order_hints import suggest_hints

VECTORS = Path(__file__).parents[1] / "vectors" / "order.json"
ROOT = bytes.fromhex("01701220") + hashlib.sha256(b"holdfast test root").digest()
SHAPES = st.tuples(st.integers(1, 400), st.integers(1, 40), st.integers(1, 9), st.integers(1, 70))

CASES = [  # seed, epoch, samples, run, block, lanes
    (0, 0, 1, 1, 1, 1),
    (1, 0, 3, 10, 2, 8),  # one short run, more lanes than samples
    (42, 0, 1000, 7, 3, 4),  # short last run
    (42, 1, 1000, 7, 3, 4),  # the next epoch
    (2**64 - 1, 2**64 - 1, 1024, 16, 8, 8),  # all runs full, W | L
    (7, 3, 97, 1, 200, 5),  # one block: a shuffle of everything
    (42, 0, 10**12, 1000, 8, 64),
    (42, 5, 10**12 + 37, 64, 64, 64),
]


def order(samples, run, block, lanes, seed=1, epoch=0, shuffle=True):
    return Order(ROOT, seed, epoch, OrderParameters(samples, run, block, lanes), shuffle)


def points(size):
    """A few indices below `size`, ends included."""
    return sorted(i for i in {0, 1, 2, size // 3, size // 2, size - 2, size - 1} if 0 <= i < size)


def vector(seed, epoch, samples, run, block, lanes):
    """A case of order.json, by the pure Python oracle."""
    made = Order(ROOT, seed, epoch, OrderParameters(samples, run, block, lanes))
    material = b"holdfast/order/v1\0" + ROOT + struct.pack("<6Q", seed, epoch, samples, run, block, lanes)
    runs, blocks = made._runs.size, -(-made._runs.size // block)
    case = {
        "root": ROOT.hex(),
        "seed": hex(seed),
        "epoch": hex(epoch),
        "samples": samples,
        "run": run,
        "block": block,
        "lanes": lanes,
        "material": hashlib.sha256(material).hexdigest(),
        "master_key": hex(made.master_key),
        "run_keys": [hex(key) for key in made._runs.keys],
        "block_keys": {
            str(b): [hex(key) for key in round_keys(made.master_key, b + 1)] for b in sorted({0, blocks - 1})
        },
        "runs": runs,
        "short_slot": made._short_slot,
        "pi": [[t, made._runs.forward(t)] for t in points(runs)],
        "sigma": [[s, made.shuffled(s)] for s in points(samples)],
        "samples_at": [[p, made.sample_at(p)] for p in points(samples)],
    }
    if samples <= 10_000:
        case["digest"] = digest(made.sample_at(p) for p in range(samples))
    return case


def digest(samples):
    return hashlib.sha256(b"".join(struct.pack("<Q", sample) for sample in samples)).hexdigest()


# --- docs/order.md, section by section, sharing no line with the package --------------------------------

U64 = 2**64


def doc_mix(x):
    x = (x + 0x9E3779B97F4A7C15) % U64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % U64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % U64
    return x ^ x >> 31


def doc_permutation(K, m, n):  # §2, §3
    k = [doc_mix(K ^ doc_mix(8 * m + i)) for i in range(6)]
    h = 1
    while 4**h < n:
        h += 1

    def permute(x):
        if n == 1:
            return 0
        while True:
            left, right = divmod(x, 2**h)
            for key in k:
                left, right = right, left ^ doc_mix(right ^ key) % 2**h
            x = left * 2**h + right
            if x < n:
                return x

    return permute


def doc_sequence(root, seed, epoch, N, R, B, L):
    """The whole epoch as a list, by laying the runs out: §4 without its arithmetic."""
    numbers = b"".join(number.to_bytes(8, "little") for number in (seed, epoch, N, R, B, L))
    K = int.from_bytes(hashlib.sha256(b"holdfast/order/v1" + b"\x00" + root + numbers).digest()[:8], "little")
    runs = [list(range(N))[j : j + R] for j in range(0, N, R)]
    pi = doc_permutation(K, 0, len(runs))
    slots = [runs[pi(t)] for t in range(len(runs))]
    sigma = []
    for b, at in enumerate(range(0, len(slots), B)):
        inside = list(itertools.chain.from_iterable(slots[at : at + B]))
        beta = doc_permutation(K, b + 1, len(inside))
        sigma += [inside[beta(j)] for j in range(len(inside))]
    base, rem = divmod(N, L)
    lengths = [base + (lane < rem) for lane in range(L)]
    lanes = [sigma[sum(lengths[:lane]) :][: lengths[lane]] for lane in range(L)]
    return [lanes[p % L][p // L] for p in range(N)]


# --- the promises ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(CASES)))
def test_the_vectors_are_reproduced(number):
    cases = json.loads(VECTORS.read_text())
    assert len(cases) == len(CASES)
    case = cases[number]
    assert vector(*CASES[number]) == case
    made = Order(
        bytes.fromhex(case["root"]),
        int(case["seed"], 16),
        int(case["epoch"], 16),
        OrderParameters(case["samples"], case["run"], case["block"], case["lanes"]),
    )
    positions, samples = np.array(case["samples_at"]).T
    assert made.samples_at(positions).tolist() == samples.tolist()
    if "digest" in case:
        assert digest(doc_sequence(ROOT, *CASES[number])) == case["digest"]


@settings(deadline=None, max_examples=150)
@given(SHAPES, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
@example((1, 1, 1, 1), 0, 0)
@example((1, 40, 1, 70), 0, 0)  # N < R, N < L
@example((9, 10, 4, 3), 0, 0)
@example((64, 1, 1, 64), 0, 0)  # a lane a sample
def test_each_sample_comes_once_and_all_three_implementations_agree(shape, seed, epoch):
    made = order(*shape, seed=seed, epoch=epoch)
    expected = doc_sequence(ROOT, seed, epoch, *shape)
    assert sorted(expected) == list(range(shape[0]))
    assert [made.sample_at(p) for p in range(shape[0])] == expected
    assert made.samples_at(np.arange(shape[0])).tolist() == expected


def test_the_short_run_may_land_in_any_slot():
    seen = set()
    for seed in range(80):
        made = order(5 * 4 - 3, 4, 2, 3, seed=seed)
        seen.add(made._short_slot)
        expected = doc_sequence(ROOT, seed, 0, 17, 4, 2, 3)
        assert made.samples_at(np.arange(17)).tolist() == [made.sample_at(p) for p in range(17)] == expected
    assert seen == set(range(5))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, MAX_SIZE),
    st.integers(1, MAX_SIZE),
    st.integers(1, MAX_SIZE),
    st.integers(1, MAX_SIZE),
    st.data(),
)
@example(MAX_SIZE, 1, 1, 1, None)
@example(MAX_SIZE, MAX_SIZE - 1, MAX_SIZE, MAX_SIZE, None)
def test_arrays_agree_with_integers_up_to_the_limits(samples, run, block, lanes, data):
    drawn = data.draw(st.lists(st.integers(0, samples - 1), max_size=6)) if data else []
    positions = [*drawn, 0, samples // 2, samples - 1]
    made = order(samples, run, block, lanes)
    assert made.samples_at(np.array(positions)).tolist() == [made.sample_at(p) for p in positions]


def test_a_trillion_samples_agree_at_random_places_and_none_comes_twice():
    made = order(10**12 + 37, 64, 64, 64)
    positions = np.random.default_rng(0).integers(0, 10**12 + 37, 300)
    found = made.samples_at(positions)
    assert found.tolist() == [made.sample_at(int(p)) for p in positions]
    assert len(set(found.tolist())) == len(set(positions.tolist()))


def test_long_arrays_are_computed_piecewise_with_the_same_result():
    made = order(3 * CHUNK, 16, 8, 4)
    found = made.samples_at(np.arange(3 * CHUNK, dtype=np.uint64))
    assert found.dtype == np.int64
    assert np.array_equal(np.sort(found), np.arange(3 * CHUNK))
    assert np.array_equal(made.samples_at(np.arange(CHUNK - 5, CHUNK + 5)), found[CHUNK - 5 : CHUNK + 5])
    assert made.samples_at(np.array([], np.int64)).tolist() == []


def test_every_input_changes_the_order():
    shape = OrderParameters(500, 8, 4, 4)
    orders = [
        Order(ROOT, 1, 0, shape),
        Order(ROOT, 1, 1, shape),
        Order(ROOT, 2, 0, shape),
        Order(ROOT[:-1] + b"?", 1, 0, shape),
        Order(ROOT, 1, 0, OrderParameters(500, 8, 4, 2)),
        Order(ROOT, 1, 0, OrderParameters(500, 8, 5, 4)),
        Order(ROOT, 1, 0, OrderParameters(500, 9, 4, 4)),
    ]
    sequences = {tuple(made.samples_at(np.arange(500)).tolist()) for made in orders}
    assert len(sequences) == len(orders)


def test_epochs_differ_about_as_much_as_random_orders_do():
    first, second = (order(4096, 8, 16, 8, epoch=e).samples_at(np.arange(4096)) for e in (0, 1))
    assert np.count_nonzero(first == second) < 16  # one is expected by chance
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.15


@pytest.mark.parametrize("world", [1, 2, 3, 7, 8, 64])
def test_the_ranks_of_any_world_together_read_the_same_sequence(world):
    made = order(1000, 7, 3, 8)
    whole = made.samples_at(np.arange(1000))
    woven = np.full(1000, -1)
    for rank in range(world):
        positions = np.concatenate(list(Share(1000, rank, world).positions()))
        woven[positions] = made.samples_at(positions)
    assert np.array_equal(woven, whole)


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_a_rank_reads_whole_lanes_where_the_world_divides_the_lanes(world):
    samples, lanes = 1003, 8
    made = order(samples, 7, 3, lanes)
    sigma = [made.shuffled(s) for s in range(samples)]
    place = {sample: s for s, sample in enumerate(sigma)}
    base, rem = divmod(samples, lanes)
    for rank in range(world):
        read = made.samples_at(np.concatenate(list(Share(samples, rank, world).positions())))
        own = [lane for lane in range(lanes) if lane % world == rank]
        ranges = [range(l * base + min(l, rem), (l + 1) * base + min(l + 1, rem)) for l in own]  # noqa: E741
        assert sorted(place[int(s)] for s in read) == sorted(itertools.chain.from_iterable(ranges))


def test_a_block_holds_the_samples_of_its_runs_only():
    made = order(960, 8, 5, 1)
    for start in range(0, 960, 40):
        runs = {made.sample_at(p) // 8 for p in range(start, start + 40)}
        assert len(runs) == 5


def test_without_shuffling_sample_is_position():
    made = order(100, 7, 3, 4, shuffle=False)
    assert [made.sample_at(p) for p in range(100)] == list(range(100))
    assert made.samples_at(np.arange(100)).tolist() == list(range(100))


def test_suggested_parameters_keep_a_block_near_8_mib_and_a_lane_at_sixteen_blocks():
    assert suggest_parameters(10**9, 16, 8 << 10) == OrderParameters(10**9, 16, 64, 64)
    assert suggest_parameters(10**6, 16, 1 << 20) == OrderParameters(10**6, 16, 1, 64)  # a run is 16 MiB
    assert suggest_parameters(10**6, 4, 100 << 10) == OrderParameters(10**6, 4, 20, 64)
    assert suggest_parameters(100, 16, 100) == OrderParameters(100, 16, 64, 1)
    assert suggest_parameters(0, 16, 0) == OrderParameters(0, 16, 64, 1)
    for samples in (16383, 16384, 16 * 1024 * 3, 10**7):
        made = suggest_parameters(samples, 16, 1000)
        lane = samples // made.lanes
        assert made.lanes == 1 or lane >= 16 * made.block * made.run
        assert made.lanes == 64 or samples // (2 * made.lanes) < 16 * made.block * made.run


def test_what_a_reader_of_all_lanes_has_at_hand_is_bounded_where_it_is_asked():
    hints = suggest_hints(10**9, 512, 700, at_hand_bytes=64 << 20)
    assert (hints.block, hints.lanes) == (23, 8)
    assert hints.lanes * hints.block * hints.run * 700 <= 64 << 20
    assert suggest_hints(10**9, 512, 700).lanes == 64
    assert suggest_hints(10**6, 10**5, 700, at_hand_bytes=1).lanes == 1


def test_an_order_travels_to_a_worker():
    made = order(1000, 7, 3, 4)
    copy = pickle.loads(pickle.dumps(made))
    assert np.array_equal(copy.samples_at(np.arange(1000)), made.samples_at(np.arange(1000)))
    assert len(copy) == 1000
    assert "samples=1000" in repr(copy)


def test_an_empty_dataset_has_no_positions():
    made = order(0, 7, 3, 4)
    assert made.samples_at(np.array([], np.int64)).tolist() == []
    with pytest.raises(ValueError, match="position 0"):
        made.sample_at(0)


def test_inputs_out_of_range_are_the_callers_mistake():
    for wrong in ((-1, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0), (MAX_SIZE + 1, 1, 1, 1)):
        with pytest.raises(ValueError, match="expected"):
            OrderParameters(*wrong)
    shape = OrderParameters(10, 2, 2, 2)
    for root, seed, epoch in ((b"", 0, 0), (ROOT[2:], 0, 0), (ROOT, -1, 0), (ROOT, 0, 1 << 64)):
        with pytest.raises(ValueError, match="expected"):
            Order(root, seed, epoch, shape)
    made = order(10, 2, 2, 2)
    for position in (-1, 10):
        with pytest.raises(ValueError, match="position"):
            made.sample_at(position)
        with pytest.raises(ValueError, match="position"):
            made.samples_at(np.array([0, position]))
        with pytest.raises(ValueError, match="index"):
            made.shuffled(position)
    for positions in (np.array([0.0]), np.array([[0]])):
        with pytest.raises(TypeError, match="flat array of integers"):
            made.samples_at(positions)


def spelled(case):
    return "{\n" + ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in case.items()) + "\n}"


if __name__ == "__main__":
    VECTORS.write_text("[\n" + ",\n".join(spelled(vector(*case)) for case in CASES) + "\n]\n")

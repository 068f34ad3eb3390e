"""The order: each sample once, the same for everyone, and the numbers of docs/order.md for ever.

`PYTHONPATH=tests python tests/loaders/test_order.py` writes the vectors again. They may grow; a changed number is a
broken promise.
"""

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

from holdfast.loaders.order import CHUNK, Order
from holdfast.loaders.order_parameters import OrderParameters
from holdfast.loaders.order_v1 import OrderV1
from holdfast.loaders.order_v2 import OrderV2
from holdfast.loaders.permutation import MAX_SIZE, round_keys
from holdfast.loaders.share import Share
from support.order_by_text import doc_sequence

VECTORS = Path(__file__).parents[1] / "vectors" / "order.json"
ROOT = bytes.fromhex("01701220") + hashlib.sha256(b"holdfast test root").digest()
SHAPES = st.tuples(st.integers(1, 400), st.integers(1, 40), st.integers(1, 9), st.integers(1, 70))
VERSIONS = pytest.mark.parametrize("version", [1, 2])

SHAPED = [  # seed, epoch, samples, run, block, lanes
    (0, 0, 1, 1, 1, 1),
    (1, 0, 3, 10, 2, 8),  # one short run, more lanes than samples
    (42, 0, 1000, 7, 3, 4),  # short last run
    (42, 1, 1000, 7, 3, 4),  # the next epoch
    (2**64 - 1, 2**64 - 1, 1024, 16, 8, 8),  # all runs full, W | L
    (7, 3, 97, 1, 200, 5),  # one block: a shuffle of everything
    (42, 0, 10**12, 1000, 8, 64),
    (42, 5, 10**12 + 37, 64, 64, 64),
]
CASES = [
    *((*case, 1) for case in SHAPED),
    *((*case, 2, 64) for case in SHAPED),
    (42, 0, 5000, 7, 3, 4, 2, 40),  # stretches, and one that is not whole
    (42, 0, 5000, 7, 6, 9, 2, 1),  # blocks begin by turns; a run is a stretch
    (42, 0, 5000, 70, 1, 3, 2, 3),  # blocks of a run
]


def order(samples, run, block, lanes, version=2, stretch=64, seed=1, epoch=0, shuffle=True):
    return Order(ROOT, seed, epoch, OrderParameters(samples, run, block, lanes, version, stretch), shuffle)


def points(size):
    """A few indices below `size`, ends included."""
    return sorted(i for i in {0, 1, 2, size // 3, size // 2, size - 2, size - 1} if 0 <= i < size)


def hexadecimal(keys):
    return [hex(key) for key in keys]


def vector(seed, epoch, samples, run, block, lanes, version, stretch=1):
    """A case of order.json, by the pure Python oracle."""
    parameters = OrderParameters(samples, run, block, lanes, version, stretch)
    made = Order(ROOT, seed, epoch, parameters)
    tag = b"holdfast/order/v%d\0" % version
    numbers = [seed, epoch, samples, run, block, lanes, *([stretch] if version == 2 else [])]
    material = tag + ROOT + b"".join(struct.pack("<Q", number) for number in numbers)
    about = vector_of_v1 if version == 1 else vector_of_v2
    case = {
        **({"version": version} if version > 1 else {}),
        "root": ROOT.hex(),
        "seed": hex(seed),
        "epoch": hex(epoch),
        "samples": samples,
        "run": run,
        "block": block,
        "lanes": lanes,
        **({"stretch": stretch} if version == 2 else {}),
        "material": hashlib.sha256(material).hexdigest(),
        "master_key": hex(made.master_key),
        **about(made.master_key, parameters),
        "samples_at": [[p, made.sample_at(p)] for p in points(samples)],
    }
    if samples <= 10_000:
        case["digest"] = digest(made.sample_at(p) for p in range(samples))
    return case


def vector_of_v1(key, parameters):
    made = OrderV1(key, parameters)
    runs, blocks = made.runs.size, -(-made.runs.size // parameters.block)
    return {
        "run_keys": hexadecimal(made.runs.keys),
        "block_keys": {str(b): hexadecimal(round_keys(key, b + 1)) for b in sorted({0, blocks - 1})},
        "runs": runs,
        "short_slot": made.short_slot,
        "pi": [[t, made.runs.forward(t)] for t in points(runs)],
        "sigma": [[s, made.shuffled(s)] for s in points(parameters.samples)],
    }


def vector_of_v2(key, parameters):
    made, lanes = OrderV2(key, parameters), parameters.lanes
    ends = sorted({0, min(lanes, parameters.samples) - 1})
    length = {lane: len(range(lane, parameters.samples, lanes)) for lane in ends}
    blocks = -(-length[0] // (parameters.run * parameters.block)) + 1
    return {
        "stretches": parameters.samples // (parameters.stretch * parameters.run),
        "stretch_keys": hexadecimal(round_keys(key, 0)),
        "lane_keys": {str(lane): hexadecimal(round_keys(key, 1 + lane)) for lane in ends},
        "block_keys": {
            f"{lane} {b}": hexadecimal(round_keys(key, 1 + lanes + lane * blocks + b))
            for lane in ends
            for b in (0, blocks - 1)
        },
        "tau": [[s, made.sequence(s)] for s in points(parameters.samples)],
        "lambda": [[lane, i, made.in_lane(lane, i)] for lane in ends for i in points(length[lane])],
    }


def digest(samples):
    return hashlib.sha256(b"".join(struct.pack("<Q", sample) for sample in samples)).hexdigest()


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
        OrderParameters(
            case["samples"], case["run"], case["block"], case["lanes"], case.get("version", 1), case.get("stretch", 1)
        ),
    )
    positions, samples = np.array(case["samples_at"]).T
    assert made.samples_at(positions).tolist() == samples.tolist()
    if "digest" in case:
        about, (version, *stretch) = CASES[number][:6], CASES[number][6:]
        assert digest(doc_sequence(version, *(stretch or [1]), ROOT, *about)) == case["digest"]


@VERSIONS
@settings(deadline=None, max_examples=150)
@given(SHAPES, st.integers(1, 80), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
@example((1, 1, 1, 1), 1, 0, 0)
@example((1, 40, 1, 70), 1, 0, 0)  # N < R, N < L
@example((9, 10, 4, 3), 1, 0, 0)
@example((64, 1, 1, 64), 64, 0, 0)  # a lane a sample, and one whole stretch
@example((400, 2, 3, 5), 64, 0, 0)  # stretches, and one that is not whole
def test_each_sample_comes_once_and_all_three_implementations_agree(version, shape, stretch, seed, epoch):
    made = order(*shape, version, stretch, seed=seed, epoch=epoch)
    expected = doc_sequence(version, stretch, ROOT, seed, epoch, *shape)
    assert sorted(expected) == list(range(shape[0]))
    assert [made.sample_at(p) for p in range(shape[0])] == expected
    assert made.samples_at(np.arange(shape[0])).tolist() == expected


def test_the_short_run_may_land_in_any_slot():
    seen = set()
    for seed in range(80):
        made = order(5 * 4 - 3, 4, 2, 3, version=1, seed=seed)
        seen.add(OrderV1(made.master_key, made.parameters).short_slot)
        expected = doc_sequence(1, 1, ROOT, seed, 0, 17, 4, 2, 3)
        assert made.samples_at(np.arange(17)).tolist() == [made.sample_at(p) for p in range(17)] == expected
    assert seen == set(range(5))


@VERSIONS
@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, MAX_SIZE),
    st.integers(1, MAX_SIZE),
    st.integers(1, MAX_SIZE),
    st.integers(1, MAX_SIZE),
    st.data(),
)
@example(MAX_SIZE, 1, 1, 1, None)
@example(MAX_SIZE, 1, 1, 1 << 10, None)
@example(MAX_SIZE, 1 << 40, 1 << 20, 3, None)
@example(MAX_SIZE, MAX_SIZE - 1, MAX_SIZE, MAX_SIZE, None)
def test_arrays_agree_with_integers_up_to_the_limits(version, samples, run, block, lanes, data):
    drawn = data.draw(st.lists(st.integers(0, samples - 1), max_size=6)) if data else []
    positions = [*drawn, 0, samples // 2, samples - 1]
    if version == 2:
        run, block, lanes = min(run, 1 << 40), min(block, 1 << 20), min(lanes, 1 << 10)
    made = order(samples, run, block, lanes, version, min(samples, MAX_SIZE // run) if version == 2 else 1)
    assert made.samples_at(np.array(positions)).tolist() == [made.sample_at(p) for p in positions]


@VERSIONS
def test_a_trillion_samples_agree_at_random_places_and_none_comes_twice(version):
    made = order(10**12 + 37, 64, 64, 64, version)
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
    orders = [
        Order(ROOT[:-1] + b"?", 1, 0, OrderParameters(500, 8, 4, 4, 2, 64)),
        order(500, 8, 4, 4, stretch=3),
        order(500, 8, 4, 4),
        order(500, 8, 4, 4, epoch=1),
        order(500, 8, 4, 4, seed=2),
        order(500, 8, 4, 2),
        order(500, 8, 5, 4),
        order(500, 9, 4, 4),
        order(500, 8, 4, 4, version=1),
    ]
    sequences = {tuple(made.samples_at(np.arange(500)).tolist()) for made in orders}
    assert len(sequences) == len(orders)


@VERSIONS
def test_epochs_differ_about_as_much_as_random_orders_do(version):
    samples, run = (4096, 8) if version == 1 else (1 << 16, 1)  # a thousand stretches
    first, second = (order(samples, run, 16, 8, version, epoch=e).samples_at(np.arange(samples)) for e in (0, 1))
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
    rule = OrderV2(made.master_key, made.parameters)
    place = {rule.sequence(s): s for s in range(samples)}
    base, rem = divmod(samples, lanes)
    for rank in range(world):
        read = made.samples_at(np.concatenate(list(Share(samples, rank, world).positions())))
        own = [lane for lane in range(lanes) if lane % world == rank]
        ranges = [range(l * base + min(l, rem), (l + 1) * base + min(l + 1, rem)) for l in own]  # noqa: E741
        assert sorted(place[int(s)] for s in read) == sorted(itertools.chain.from_iterable(ranges))


@VERSIONS
def test_a_block_holds_the_samples_of_its_runs_only(version):
    made = order(960, 8, 5, 1, version)
    for start in range(0, 960, 40):
        runs = {made.sample_at(p) // 8 for p in range(start, start + 40)}
        assert len(runs) == 5


def test_without_shuffling_sample_is_position():
    made = order(100, 7, 3, 4, shuffle=False)
    assert [made.sample_at(p) for p in range(100)] == list(range(100))
    assert made.samples_at(np.arange(100)).tolist() == list(range(100))


def test_a_lane_is_pieces_as_long_as_a_stretch():
    """So a rank shares with others no more than a leaf for each piece, and one for each end of a lane."""
    made = order(100_000, 4, 8, 8)  # stretches of 256 samples
    for lane in range(8):
        samples = np.sort(made.samples_at(np.arange(lane, 100_000, 8)))
        pieces = 1 + np.count_nonzero(np.diff(samples) != 1)
        assert pieces <= len(samples) / 256 + 2


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
        for version in (1, 2):
            with pytest.raises(ValueError, match="expected"):
                OrderParameters(*wrong, version)
    wrong = [(1 << 41, 1, 1, 2), (1, 1 << 21, 1, 2), (1, 1, 1025, 2), (1, 1, 1, 2, 0), (1 << 30, 1, 1, 2, 1 << 31)]
    for beyond in [*wrong, (1, 1, 1, 0), (1, 1, 1, 3)]:
        with pytest.raises(ValueError, match="expected"):
            OrderParameters(1, *beyond)
    shape = OrderParameters(10, 2, 2, 2, 2)
    for root, seed, epoch in ((b"", 0, 0), (ROOT[2:], 0, 0), (ROOT, -1, 0), (ROOT, 0, 1 << 64)):
        with pytest.raises(ValueError, match="expected"):
            Order(root, seed, epoch, shape)
    made = order(10, 2, 2, 2)
    for position in (-1, 10):
        with pytest.raises(ValueError, match="position"):
            made.sample_at(position)
        with pytest.raises(ValueError, match="position"):
            made.samples_at(np.array([0, position]))
    for positions in (np.array([0.0]), np.array([[0]])):
        with pytest.raises(TypeError, match="flat array of integers"):
            made.samples_at(positions)


def spelled(case):
    return "{\n" + ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in case.items()) + "\n}"


if __name__ == "__main__":
    VECTORS.write_text("[\n" + ",\n".join(spelled(vector(*case)) for case in CASES) + "\n]\n")

"""Decoded row groups: within their bound, the next ones ahead, and what is being read first."""

from __future__ import annotations

import random
import threading
import weakref
from functools import partial
from typing import Any

import pyarrow as pa
import pytest

from holdfast.loaders.readers.decoded import DecodedRows
from holdfast.loaders.readers.values import Rows


class Table:
    """Rows of a known size, for the bound on what is decoded."""

    def __init__(self, size: int) -> None:
        self.bytes = size


def test_a_pass_that_was_abandoned_keeps_no_shard_open() -> None:
    rows = DecodedRows(1000)
    shard = Table(1)
    gone = weakref.ref(shard)
    for at in range(3):
        rows.want(("s", at), 10, partial(lambda _: None, shard))  # their bytes never come
    del shard
    assert gone() is not None
    rows.begin()
    assert gone() is None
    other = Table(1)
    rows.want(("s", 1), 10, partial(lambda _: None, other))
    gone = weakref.ref(other)
    del other
    rows.forget("s", views=False)
    assert gone() is None


def test_a_shard_that_is_closed_takes_its_views_along() -> None:
    rows = DecodedRows(1000)
    for path in ("s", "t"):
        for at in range(3):
            rows.get((path, at), lambda _: Table(100), at)  # type: ignore[arg-type, return-value]
    rows.forget("s", views=False)
    assert rows.knows(("s", 0))
    rows.forget("s", views=True)
    assert [rows.knows((path, 0)) for path in ("s", "t")] == [False, True]
    assert rows._held_bytes == 300


@pytest.mark.parametrize("honest", [True, False])
def test_what_is_decoded_stays_within_its_bound_and_every_group_comes(honest: bool) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    rows = DecodedRows(1000)
    sizes = [rng.choice([10, 90, 240, 700]) for _ in range(60)]
    made: list[int] = []

    def decode(group: int) -> Any:
        made.append(group)
        return Table(sizes[group])

    most = 0
    for group in range(60):
        for ahead in range(group, min(group + 12, 60)):
            lie = sizes[ahead] if honest or rng.random() < 0.8 else 1  # a footer may say less than there is
            rows.want(("s", ahead), lie, lambda ahead=ahead: lambda: decode(ahead))  # type: ignore[misc]
        assert rows.get(("s", group), decode, group).bytes == sizes[group]
        most = max(most, rows._held_bytes)
        assert not honest or len(rows._held) == 1 or rows._held_bytes + rows._coming_bytes() <= 1000
        assert len(rows._running) <= 16
    assert sorted(set(made)) == list(range(60))
    assert most <= max(1000, 700)


def test_groups_that_nobody_began_to_decode_leave_their_place() -> None:
    """Sixteen of them were the end of all decoding ahead, for as long as the process lived."""
    rows, go = DecodedRows(10_000), threading.Event()
    begun = threading.Semaphore(0)

    def slow() -> Any:
        begun.release()
        assert go.wait(20)
        return Table(1)

    try:
        for group in range(40):
            if group < 2:
                rows.want(("s", group), 1, lambda: slow)
                assert begun.acquire(timeout=10), "both threads are at work"
                continue
            rows.want(("s", group), 1, lambda: lambda: Table(1))  # type: ignore[return-value]
            assert ("s", group) in rows._coming
            assert rows.get(("s", group), lambda _: Table(2), group).bytes == 1  # type: ignore[arg-type, return-value]
        rows.want(("s", 40), 1, lambda: slow)
        assert ("s", 40) in rows._coming
    finally:
        go.set()


def test_a_group_that_was_read_to_its_end_goes_before_one_that_was_not() -> None:
    rows = DecodedRows(1000)
    table = pa.table({"x": pa.array(range(10), pa.int64())})  # 80 bytes
    decode = lambda _: Rows(table)
    half = rows.get(("s", 0), decode, 0)
    half.unread -= 5
    for group in range(1, 9):
        rows.spend(("s", group), rows.get(("s", group), decode, group))
        rows.get(("s", 0), decode, 0)
    assert [group for group in range(9) if rows.knows(("s", group))] == [0, 6, 7, 8], "a quarter, and what is needed"
    assert rows._held_bytes == 4 * 80
    again = rows.get(("s", 6), decode, 6)
    again.unread -= 1  # the next pass has come to it
    for group in range(10, 14):
        rows.spend(("s", group), rows.get(("s", group), decode, group))
    assert [group for group in range(14) if rows.knows(("s", group))] == [0, 6, 11, 12, 13]


def test_what_is_decoded_ahead_and_what_was_read_make_room_for_what_is_being_read() -> None:
    """A shuffle takes rows of all groups of a block by turns: one that was dropped for others is decoded again."""
    rows = DecodedRows(1000)
    table = pa.table({"x": pa.array(range(10), pa.int64())})  # 80 bytes
    decode = lambda _: Rows(table)
    for group in range(3):
        rows.spend(("s", group), rows.get(("s", group), decode, group))
    at_hand = [("s", group) for group in range(3, 11)]  # 640 bytes
    for key in at_hand:
        rows.get(key, decode, key[1]).unread -= 1
    assert [rows.knows(("s", group)) for group in range(3)] == [True] * 3, "880 bytes fit"
    for group in range(11, 40):
        rows.want(("s", group), 80, lambda: lambda: Rows(table))
    assert sorted(rows._coming) == [("s", group) for group in range(11, 15)], "of 500 bytes 360 are left"
    assert not any(rows.knows(("s", group)) for group in range(3)), "though they were read later than some at hand"
    assert all(map(rows.knows, at_hand))
    rows.get(("s", 11), decode, 11).unread -= 1
    assert [rows.knows(("s", group)) for group in range(15, 17)] == [False] * 2, "720 at hand, 240 coming"
    assert all(map(rows.knows, at_hand))
    rows.get(("s", 40), decode, 40).unread -= 1  # one too many: the quarter that is decoded ahead is not given up
    assert [key for key in at_hand if not rows.knows(key)] == at_hand[:1]
    assert rows._held_bytes + rows._coming_bytes() <= 1000


def test_what_the_last_pass_left_is_not_taken_for_room_by_the_next() -> None:
    rows = DecodedRows(1000)
    table = pa.table({"x": pa.array(range(10), pa.int64())})  # 80 bytes
    decode = lambda _: Rows(table)
    for group in range(3):
        rows.spend(("s", group), rows.get(("s", group), decode, group))
    rows.begin()
    for group in range(8):  # 640 bytes at hand, of which 240 were kept
        rows.get(("s", group), decode, group).unread -= 1
    for group in range(8, 40):
        rows.want(("s", group), 80, lambda: lambda: Rows(table))
    assert sorted(rows._coming) == [("s", group) for group in range(8, 12)], "360 bytes are left"
    assert all(rows.knows(("s", group)) for group in range(8))


def test_what_is_known_of_groups_that_were_read_is_bounded_and_goes_with_them() -> None:
    rows = DecodedRows(1000)
    nothing = pa.table({"x": pa.nulls(3)})
    for group in range(10_000):
        rows.spend(("s", group), rows.get(("s", group), lambda _: Rows(nothing), group))
    assert len(rows._spent) <= 4096
    numbers = pa.table({"x": pa.array(range(20), pa.int64())})  # 160 bytes: seven fit
    for group in range(30):
        found = rows.get(("t", group), lambda _: Rows(numbers), group)
        if group % 3:
            rows.spend(("t", group), found)
        assert rows._spent.keys() <= rows._held.keys()
        assert rows._spent_bytes == sum(rows._held[key].bytes for key in rows._spent) <= 250
        assert rows._held_bytes == sum(each.bytes for each in rows._held.values()) <= 1000
    rows.forget("t", views=True)
    assert rows._spent_bytes == 0

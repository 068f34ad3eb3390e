"""Foreign bytes break no parser: only typed errors, memory in proportion to the input, no deep recursion."""

from __future__ import annotations

import os
import sys
import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from .targets import TARGETS, Target, found_inputs

EXAMPLES = int(os.environ.get("HOLDFAST_FUZZ_EXAMPLES", "120"))
SLOW = {"marks", "leaf_index_segment", "walks", "roster", "settings", "manifest_head", "manifest_page"}
CONSTANT_BYTES = 8 << 20
INTERESTING = [
    b"\x00", b"\x7f", b"\x80", b"\xff", b"\xff" * 9, b"\x80" * 9 + b"\x01", bytes(8), b"\xff\xff\xff\x7f", b"9" * 30,
    b"[" * 200, b"{" * 50, b'"\\ud800"', b"\\ud800", b"1" * 5000, b"%00", b"\xed\xa0\x80", b"-1", b"1e999", b"NaN",
    b"x = " + b"[" * 2000, b"x = " + b"1" * 5000 + b"\n", b"x = 9999-99-99\n", b'"a":' + b"[" * 2000,
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A valid example with some pieces cut, doubled, flipped, or replaced."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, min(len(data) - at, 64)))
        match draw(st.integers(0, 4)):
            case 0:
                data[at : at + length] = b""
            case 1:
                data[at:at] = data[at : at + length]
            case 2:
                data[at : at + length] = draw(st.binary(max_size=16))
            case 3:
                data[at : at + 1] = draw(st.sampled_from(INTERESTING))
            case 4:
                if at < len(data):
                    data[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    return st.one_of(mutated(target.seeds()), st.binary(max_size=200), st.sampled_from(INTERESTING))


def check(target: Target, data: bytes) -> None:
    """Run one input. Memory is only looked at while `tracemalloc` runs."""
    tracemalloc.reset_peak() if tracemalloc.is_tracing() else None
    started = time.monotonic()
    before = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0
    try:
        target.run(data)
    except target.errors:
        pass
    assert time.monotonic() - started < 10
    if tracemalloc.is_tracing():
        peak = tracemalloc.get_traced_memory()[1] - before
        assert peak <= CONSTANT_BYTES + target.factor * len(data), f"{peak} bytes for an input of {len(data)}"


@pytest.mark.parametrize("name", TARGETS)
def test_valid_examples_are_read(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    assert seeds
    read = 0
    for seed in seeds:
        try:
            target.run(seed)
            read += 1
        except target.errors:
            continue
    assert read, "an example that nothing reads mutates into nothing"


@pytest.mark.parametrize("name", TARGETS)
def test_arbitrary_bytes_and_mutations_raise_only_typed_errors(name: str) -> None:
    target = TARGETS[name]
    depth = sys.getrecursionlimit()

    @settings(
        max_examples=EXAMPLES // 4 if name in SLOW else EXAMPLES, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(inputs(target))
    def attack(data: bytes) -> None:
        note(f"input: {data.hex()}")
        check(target, data)

    attack()
    assert sys.getrecursionlimit() == depth


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"marks"}))
@pytest.mark.parametrize("size", [1 << 10, 1 << 16])
def test_memory_is_bounded_by_the_input(name: str, size: int) -> None:
    """Seeds blown up: repeated, behind huge lengths, nested."""
    target = TARGETS[name]
    seeds = target.seeds()
    bombs = [
        seeds[0] * (size // max(len(seeds[0]), 1) + 1), b"\x81" * size, b"[" * size, b"\x12" * size,
        b"\x0a\x02" * (size // 2), b"\x9b\x00\x00\x00\x7f" + b"\xf6" * size, b"\xff" * 8 + b"\x7f" + seeds[0],
        b'{"a":' * (size // 5), b"a.b=1\n" * (size // 6), b"x=" + b"[" * size, b"x=" + b"1" * size,
        b"x={" + b"a={" * (size // 3), b".".join([b"a"] * (size // 2)) + b"=1",
    ]  # fmt: skip
    tracemalloc.start()
    try:
        for bomb in bombs:
            check(target, bomb[: 1 << 17])
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("name", "data"), list(found_inputs()))
def test_what_once_broke_a_parser(name: str, data: bytes) -> None:
    check(TARGETS[name], data)

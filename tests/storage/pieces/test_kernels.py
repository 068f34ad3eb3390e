"""Every compiled kernel that this processor has computes what the Python one does."""

from __future__ import annotations

import random
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.storage.pieces import kernel, pure
from holdfast.storage.pieces.piece_cid import height_for

if shutil.which("cc") is None:  # where there is a compiler the kernel has to be there
    pytest.importorskip("holdfast.storage.pieces._commp")
from holdfast.storage.pieces import _commp

KINDS = _commp.kinds()


def test_the_fastest_is_taken() -> None:
    assert KINDS[0] == kernel.KIND
    assert KINDS[-1] == "plain"


@pytest.mark.parametrize("kind", KINDS)
@given(
    size=st.one_of(st.integers(0, 3000), st.integers(0, 127 * 1024 + 5)), above=st.integers(0, 3), seed=st.integers(0)
)
def test_trees(kind: str, size: int, above: int, seed: int) -> None:
    payload = random.Random(seed).randbytes(size)
    height = height_for(size) + above
    assert _commp.subtree(payload, height, kind) == pure.subtree(payload, height)


@pytest.mark.parametrize("kind", KINDS)
@given(count=st.integers(0, 100), seed=st.integers(0))
def test_pairs(kind: str, count: int, seed: int) -> None:
    nodes = random.Random(seed).randbytes(64 * count)
    assert _commp.pairs(nodes, kind) == pure.pairs(nodes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", [memoryview(b"abc" * 500)[3:], bytearray(b"\xff" * 1016), bytes(127 << 13)])
def test_any_buffer(kind: str, data: bytes) -> None:
    assert _commp.subtree(data, 15, kind) == pure.subtree(data, 15)


@pytest.mark.parametrize("module", [pure, _commp])
def test_what_does_not_fit_is_refused(module: object) -> None:
    with pytest.raises(ValueError, match="128 bytes do not fit a tree of height 2"):
        module.subtree(bytes(128), 2)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="no even number"):
        module.pairs(bytes(96))  # type: ignore[attr-defined]


@pytest.mark.parametrize("height", [-1, 0, 1, 57, 1 << 20])
def test_impossible_heights_are_refused(height: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        _commp.subtree(b"", height)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="has no mmx"):
        _commp.subtree(b"", 2, "mmx")

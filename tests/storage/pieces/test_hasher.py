"""A piece out of a stream: however it is cut, on however many threads, and gone on with after a stop."""

from __future__ import annotations

import io
import itertools
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.storage.errors import FormatError, HashMismatchError
from holdfast.storage.pieces.hasher import PieceHasher
from holdfast.storage.pieces.piece import SUBTREE_BYTES, Piece
from holdfast.storage.pieces.piece_cid import PieceCID, height_for
from holdfast.storage.pieces.pure import subtree

DATA = random.Random(7).randbytes(4 * SUBTREE_BYTES + 12_345)
SIZES = [0, 1, 127, 128, SUBTREE_BYTES - 1, SUBTREE_BYTES, SUBTREE_BYTES + 1, 2 * SUBTREE_BYTES, len(DATA)]


def _piece(payload: bytes, threads: int = 2) -> Piece:
    with PieceHasher(threads=threads) as hasher:
        hasher.read(io.BytesIO(payload))
        return hasher.finish()


@pytest.mark.parametrize("size", SIZES)
def test_the_root_is_that_of_the_whole_tree(size: int) -> None:
    piece = _piece(DATA[:size])
    assert piece.cid == PieceCID.of(subtree(DATA[:size], height_for(size)), size)
    assert piece.subtrees == max(1, -(-size // SUBTREE_BYTES))


@settings(max_examples=20)
@given(st.lists(st.integers(0, len(DATA)), max_size=8), st.integers(1, 3))
def test_however_it_is_cut(cuts: list[int], threads: int) -> None:
    edges = [0, *sorted(cuts), len(DATA)]
    with PieceHasher(threads=threads) as hasher:
        for start, end in itertools.pairwise(edges):
            hasher.update(DATA[start:end])
            assert hasher.size == end
        assert hasher.finish() == _piece(DATA, 1)


@pytest.mark.parametrize("stop", [0, 10, SUBTREE_BYTES, 3 * SUBTREE_BYTES + 5, len(DATA)])
def test_it_goes_on_where_another_stopped(stop: int) -> None:
    with PieceHasher() as first:
        first.update(DATA[:stop])
        layer, done = first.done
    with PieceHasher(layer=layer) as second:
        second.update(DATA[done:])
        assert second.finish() == _piece(DATA)


@pytest.mark.parametrize("size", SIZES)
def test_each_range_is_checked_alone(size: int) -> None:
    piece = _piece(DATA[:size])
    for index in range(piece.subtrees):
        start, end = piece.range_of(index)
        assert piece.holds(index, DATA[start:end])
        assert not piece.holds(index, DATA[start:end] + b"\0")
        if end > start:
            changed = bytearray(DATA[start:end])
            changed[random.Random(index).randrange(end - start)] ^= 1
            assert not piece.holds(index, changed)
            assert not piece.holds(index, DATA[start : end - 1])
    with pytest.raises(ValueError, match="no subtree"):
        piece.range_of(piece.subtrees)
    with pytest.raises(ValueError, match="no subtree"):
        piece.range_of(-1)


def test_a_layer_that_is_not_the_pieces_is_refused() -> None:
    piece = _piece(DATA)
    for at in (0, 40, len(piece.layer) - 1):
        layer = bytearray(piece.layer)
        layer[at] ^= 1
        with pytest.raises(HashMismatchError, match="does not fold"):
            Piece(piece.cid, bytes(layer))
    with pytest.raises(FormatError, match="expected 160"):
        Piece(piece.cid, piece.layer[:-32])


def test_memory_is_that_of_a_few_subtrees() -> None:
    part = random.Random(1).randbytes(1 << 20)
    tracemalloc.start()
    try:
        with PieceHasher(threads=2) as hasher:
            for _ in range(64):
                hasher.update(part)
            hasher.finish()
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["I", "B"])
def test_any_contiguous_buffer_is_its_bytes(kind: str) -> None:
    with PieceHasher() as hasher:
        hasher.update(memoryview(DATA[:SUBTREE_BYTES]).cast(kind))
        assert hasher.finish() == _piece(DATA[:SUBTREE_BYTES])


def test_one_that_was_interrupted_gives_nothing_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_payload: object, _height: int) -> bytes:
        raise MemoryError

    with PieceHasher(threads=1) as hasher:
        hasher.update(DATA[: 2 * SUBTREE_BYTES])
        layer, done = hasher.done
        monkeypatch.setattr("holdfast.storage.pieces.hasher.subtree", broken)
        hasher.update(DATA[2 * SUBTREE_BYTES :])
        with pytest.raises(MemoryError):
            _ = hasher.done
        for use in (lambda: hasher.done, lambda: hasher.update(b"x"), hasher.finish):
            with pytest.raises(RuntimeError, match="interrupted"):
                use()
    monkeypatch.undo()
    with PieceHasher(layer=layer) as again:
        again.update(DATA[done:])
        assert again.finish() == _piece(DATA)


def test_a_stream_that_does_not_block_is_not_taken_for_ended() -> None:
    class Nothing:
        def read(self, _size: int) -> None:
            return None

    with PieceHasher() as hasher, pytest.raises(BlockingIOError):
        hasher.read(Nothing())  # type: ignore[arg-type]

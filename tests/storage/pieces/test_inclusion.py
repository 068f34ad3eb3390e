"""Proofs of leaves and subtrees: what is there can be proven, and nothing else."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from holdfast.storage.errors import FormatError, HashMismatchError
from holdfast.storage.pieces.hasher import PieceHasher
from holdfast.storage.pieces.inclusion import Inclusion, prove_leaf, prove_subtree
from holdfast.storage.pieces.piece import SUBTREE_BYTES, Piece
from holdfast.storage.pieces.pure import fr32, pairs

DATA = random.Random(8).randbytes(4 * SUBTREE_BYTES + 999)


def _piece(size: int) -> Piece:
    with PieceHasher() as hasher:
        hasher.update(DATA[:size])
        return hasher.finish()


@pytest.mark.parametrize("size", [0, 1, 127, 300, SUBTREE_BYTES, len(DATA)])
def test_leaves(size: int) -> None:
    piece, leaves = _piece(size), fr32(DATA[:size] + bytes(-size % 127))
    total = 1 << piece.cid.height
    drawn = random.Random(size)
    for leaf in {0, total - 1, min(len(leaves) // 32, total - 1), *(drawn.randrange(total) for _ in range(6))}:
        proof = prove_leaf(piece, leaf, lambda start, end: DATA[start:end])
        proof.verify(piece.cid)
        assert proof.node == (leaves[32 * leaf : 32 * leaf + 32] or bytes(32))
        _is_of_nothing_else(proof, piece)


@pytest.mark.parametrize("size", [0, 5000, SUBTREE_BYTES, len(DATA)])
def test_subtrees(size: int) -> None:
    piece = _piece(size)
    for index in range(piece.subtrees):
        proof = prove_subtree(piece, index)
        proof.verify(piece.cid)
        _is_of_nothing_else(proof, piece)
    with pytest.raises(ValueError, match="no subtree"):
        prove_subtree(piece, piece.subtrees)


def _is_of_nothing_else(proof: Inclusion, piece: Piece) -> None:
    wrong = bytes([proof.node[0] ^ 1]) + proof.node[1:]
    with pytest.raises(HashMismatchError):
        replace(proof, node=wrong).verify(piece.cid)
    if not proof.siblings:
        return
    for at in {0, len(proof.siblings) - 1}:
        turned = list(proof.siblings)
        turned[at] = bytes([turned[at][0] ^ 1]) + turned[at][1:]
        with pytest.raises(HashMismatchError):
            replace(proof, siblings=tuple(turned)).verify(piece.cid)
    with pytest.raises(FormatError):
        replace(proof, siblings=proof.siblings[:-1]).verify(piece.cid)
    with pytest.raises(FormatError):
        replace(proof, index=1 << len(proof.siblings)).verify(piece.cid)
    with pytest.raises(FormatError):
        replace(proof, siblings=(b"", *proof.siblings[1:])).verify(piece.cid)


def test_a_leaf_is_not_taken_for_a_node_above_another_level() -> None:
    """A payload may hold a leaf that is the parent of two nodes of one's choice: these are not in the tree."""
    below = (b"A" * 32, b"B" * 31 + b"\x01")
    parent = pairs(below[0] + below[1])
    with PieceHasher() as hasher:
        hasher.update(_payload_of_leaf(parent))
        piece = hasher.finish()
    proof = prove_leaf(piece, 0, lambda start, end: _payload_of_leaf(parent)[start:end])
    assert proof.node == parent
    with pytest.raises(FormatError):
        Inclusion(below[0], 0, -1, (below[1], *proof.siblings)).verify(piece.cid)
    with pytest.raises(FormatError):
        Inclusion(piece.cid.root, 0, piece.cid.height + 1, ()).verify(piece.cid)


def _payload_of_leaf(leaf: bytes) -> bytes:
    """127 bytes whose first leaf this is: its first 254 bits are the payload's."""
    return leaf + bytes(95)


def test_a_proof_is_not_made_of_other_bytes() -> None:
    piece = _piece(len(DATA))
    with pytest.raises(HashMismatchError, match="are not those of"):
        prove_leaf(piece, 5, lambda start, end: bytes(end - start))
    with pytest.raises(ValueError, match="no leaf"):
        prove_leaf(piece, 1 << piece.cid.height, lambda start, end: DATA[start:end])

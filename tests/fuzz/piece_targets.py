"""Parsers of pieces: PieceCIDs, manifests and their tables, proofs, signed reports."""

from __future__ import annotations

import struct

import numpy as np

from fuzz import seeds
from fuzz.target import target
from holdfast.pipeline.audit.audit import AuditResult
from holdfast.pipeline.audit.report import replay_of, signed_report
from holdfast.storage.cid import CID, DAG_PB, RAW
from holdfast.storage.names.key import PrivateKey
from holdfast.storage.pieces.block_table import ROW, BlockTable
from holdfast.storage.pieces.hasher import PieceHasher
from holdfast.storage.pieces.inclusion import Inclusion, prove_leaf
from holdfast.storage.pieces.manifest import BLOCKS, LAYERS, PIECES, PieceManifest
from holdfast.storage.pieces.piece import Piece
from holdfast.storage.pieces.piece_cid import PieceCID

_PAYLOAD = b"piece" * 100


def _piece() -> Piece:
    with PieceHasher(threads=1) as hasher:
        hasher.update(_PAYLOAD)
        return hasher.finish()


def _manifest() -> PieceManifest:
    rows = np.zeros(3, ROW)
    rows["digest"] = [[number] * 32 for number in range(3)]
    rows["offset"], rows["length"], rows["codec"] = [50, 100, 200], 40, [RAW, RAW, DAG_PB]
    return PieceManifest(CID.of(DAG_PB, b"root"), (_piece(),), BlockTable.of(rows))


_PIECE, _MANIFEST = _piece(), _manifest()


@target(seeds.texts(str(_PIECE.cid), str(_PIECE.cid.v1)))
def piece_cid(data: bytes) -> object:
    found = PieceCID.parse(data.decode("utf-8", "replace"))
    assert PieceCID.from_v2(found.v2) == found
    assert PieceCID.from_v1(found.v1, found.size) == found
    return found


@target(lambda: [_MANIFEST.files()[PIECES]])
def piece_document(data: bytes) -> object:
    files = _MANIFEST.files()
    return PieceManifest.parse(data, files[BLOCKS], files[LAYERS]).pieces


@target(lambda: [_MANIFEST.files()[BLOCKS]])
def piece_table(data: bytes) -> object:
    found = BlockTable.parse(data, [_PIECE.cid.size])
    assert found.encode() == data
    places = [place for _, place in found.of_piece(0)]
    assert all(place.offset + place.length <= _PIECE.cid.size for place in places)
    return len(places)


def _proof(leaf: int) -> Inclusion:
    return prove_leaf(_PIECE, leaf, lambda start, end: _PAYLOAD[start:end])


@target(lambda: [struct.pack("<iQ", 0, leaf) + _proof(leaf).node + b"".join(_proof(leaf).siblings) for leaf in (0, 3)])
def inclusion_proof(data: bytes) -> object:
    level, index = struct.unpack("<iQ", data[:12].ljust(12, b"\0"))
    node, *siblings = [data[at : at + 32] for at in range(12, len(data), 32)] or [b""]
    Inclusion(node, index, level, tuple(siblings)).verify(_PIECE.cid)
    if level == 0:
        assert node == _proof(index).node, "what is proven is there"
    return node


@target(
    lambda: [
        signed_report(
            AuditResult(_MANIFEST.root, "5eed", 3, 1, 500, ()), _MANIFEST, "2026-11-30T00:00:00+00:00",
            PrivateKey.of_seed(bytes(32)),
        )
    ]
)  # fmt: skip
def piece_report(data: bytes) -> object:
    return replay_of(data, _MANIFEST).samples

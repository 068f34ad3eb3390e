"""`PieceManifest`: a dataset as pieces: their PieceCIDs, the kept layers of their trees, and where each block lies.

Three files, whose folder has a CID like any other: `pieces.json`, `blocks.bin`, `layers.bin` (docs/formats.md §9). All
of it follows from the dataset; whoever has the data makes the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..canonical import canonical_json
from ..cid import CID
from ..errors import ConfigError, FormatError, HashMismatchError
from .block_table import ROW, ROW_BYTES, BlockTable, FileRows, Rows
from .piece import SUBTREE_BYTES, Piece
from .piece_cid import PieceCID
from .pure import NODE_BYTES

FORMAT = "holdfast-pieces/1"
PIECES, BLOCKS, LAYERS = "pieces.json", "blocks.bin", "layers.bin"
MIN_PIECE_BYTES, MAX_PIECE_BYTES = 127, 127 << 23  # Curio takes no less, and no more than 1,065,353,216
MAX_PIECES = 1 << 16
_MAX_DOCUMENT_BYTES = 16 << 20  # 65,536 pieces of some 120 bytes
_MAX_LAYERS_BYTES = MAX_PIECES * 1024 * NODE_BYTES  # 2 GiB, of 66 TB
_HINT = "a piece manifest is the folder that `holdfast piece manifest URI -o FOLDER` writes"


@dataclass(frozen=True)
class PieceManifest:
    """`root`: the dataset. The layers fold to the PieceCIDs, or this cannot be constructed."""

    root: CID
    pieces: tuple[Piece, ...]
    blocks: BlockTable

    def files(self) -> dict[str, bytes]:
        """What it is on disk, by name."""
        pieces = [{"bytes": piece.cid.size, "cid": str(piece.cid)} for piece in self.pieces]
        document = {"blocks": len(self.blocks), "format": FORMAT, "pieces": pieces, "root": str(self.root)}
        return {
            PIECES: canonical_json(document),
            BLOCKS: self.blocks.encode(),
            LAYERS: b"".join(piece.layer for piece in self.pieces),
        }

    @classmethod
    def read(cls, folder: Path) -> PieceManifest:
        """From a folder; the table stays on the disk. Raises `ConfigError` for none, and for a bad one."""
        try:
            with (folder / PIECES).open("rb") as file:
                document = file.read(_MAX_DOCUMENT_BYTES + 1)
            with (folder / LAYERS).open("rb") as file:
                layers = file.read(_MAX_LAYERS_BYTES + 1)
            blocks = FileRows(folder / BLOCKS)
            return cls._of(document, blocks, layers)
        except OSError as error:
            raise ConfigError(f"{folder} is no piece manifest: {error.strerror or error}", hint=_HINT) from error
        except (FormatError, HashMismatchError) as error:
            raise ConfigError(f"{folder} is no piece manifest: {error.message}", hint=_HINT) from error

    @classmethod
    def parse(cls, document: bytes, blocks: bytes | memoryview, layers: bytes) -> PieceManifest:
        """From the bytes of the three files. Raises `FormatError`, `HashMismatchError` for layers of other pieces."""
        if len(blocks) % ROW_BYTES:
            raise FormatError(f"{BLOCKS} has {len(blocks)} bytes: expected a multiple of {ROW_BYTES}")
        return cls._of(document, np.frombuffer(blocks, ROW), layers)

    @classmethod
    def _of(cls, document: bytes, rows: Rows, layers: bytes) -> PieceManifest:
        root, cids, count = _parsed(document)
        pieces, at = [], 0
        for cid in cids:
            size = max(1, -(-cid.size // SUBTREE_BYTES)) * NODE_BYTES
            pieces.append(Piece(cid, layers[at : at + size]))
            at += size
        if at != len(layers):
            raise FormatError(f"{LAYERS} has {len(layers)} bytes, expected {at}")
        if len(rows) != count:
            raise FormatError(f"{BLOCKS} has {len(rows)} blocks, expected {count}")
        return cls(root, tuple(pieces), BlockTable.checked(rows, [cid.size for cid in cids]))


def _parsed(document: bytes) -> tuple[CID, list[PieceCID], int]:
    if len(document) > _MAX_DOCUMENT_BYTES:
        raise FormatError(f"{PIECES} has more than {_MAX_DOCUMENT_BYTES} bytes")
    try:
        found: Any = json.loads(document)
        kind, root, pieces, count = (found[key] for key in ("format", "root", "pieces", "blocks"))
        entries = [(entry["cid"], entry["bytes"]) for entry in pieces]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"{PIECES} is not one: {type(error).__name__} {error}") from error
    if not entries:
        raise FormatError(f"{PIECES} names no pieces")
    if kind != FORMAT:
        raise FormatError(f"{PIECES} has the format {str(kind)[:40]!r}, expected {FORMAT!r}")
    if type(count) is not int or count < 0 or len(entries) > MAX_PIECES or not isinstance(root, str):
        raise FormatError(f"{PIECES}: {count} blocks in {len(entries)} pieces of {str(root)[:80]}")
    cids = []
    for text, size in entries:
        if not isinstance(text, str) or type(size) is not int or not MIN_PIECE_BYTES <= size <= MAX_PIECE_BYTES:
            raise FormatError(f"{PIECES}: a piece {str(text)[:80]} of {size} bytes")
        cids.append(PieceCID.parse(text, size))
    return CID.parse(root), cids, count

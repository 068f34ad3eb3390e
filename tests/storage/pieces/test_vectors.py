"""CommP and PieceCIDs as others compute them: the vectors of the Go reference and of FRC-0069."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.storage.errors import FormatError
from holdfast.storage.pieces.hasher import PieceHasher
from holdfast.storage.pieces.piece_cid import PieceCID, height_for, payload_room
from holdfast.storage.pieces.pure import ZEROS

DOCUMENT = json.loads((Path(__file__).parents[2] / "vectors" / "pieces.json").read_text())
QUADS = b"".join(bytes([byte]) * 127 for byte in range(4))


def _cid(payload: bytes) -> PieceCID:
    with PieceHasher(threads=1) as hasher:
        hasher.update(payload)
        return hasher.finish().cid


@pytest.mark.parametrize("vector", DOCUMENT["commp"], ids=lambda vector: f"{vector['byte']}x{vector['size']}")
def test_commp_of_the_go_reference(vector: dict[str, Any]) -> None:
    cid = _cid(bytes([vector["byte"]]) * vector["size"])
    assert (str(cid.v1), cid.padded_size, cid.size) == (vector["v1"], vector["padded_size"], vector["size"])
    assert PieceCID.parse(vector["v1"], vector["size"]) == cid


@pytest.mark.parametrize("vector", DOCUMENT["frc0069"], ids=lambda vector: f"{vector['payload']}+{vector['zeros']}")
def test_frc_0069(vector: dict[str, Any]) -> None:
    size = vector["zeros"] + (len(QUADS) if vector["payload"] else 0)
    if size < 1 << 20:
        cid = _cid((QUADS if vector["payload"] else b"") + bytes(vector["zeros"]))
    else:  # 32 and 64 GiB of zeros
        cid = PieceCID.of(ZEROS[height_for(size)], size)
    assert str(cid) == vector["v2"]
    assert "v1" not in vector or str(cid.v1) == vector["v1"]
    again = PieceCID.parse(vector["v2"])
    assert (again, again.size) == (cid, size)


def test_the_smallest_tree_that_takes_it() -> None:
    for height in range(2, 40):
        room = payload_room(height)
        assert height_for(room) == height
        assert height_for(room + 1) == height + 1
    assert height_for(0) == 2


@pytest.mark.parametrize(
    ("text", "size", "words"),
    [
        ("baga6ea4seaqes3nobte6ezpp4wqan2age2s5yxcatzotcvobhgcmv5wi2xh5mbi", None, "does not say how long"),
        ("bafkzcibcaaces3nobte6ezpp4wqan2age2s5yxcatzotcvobhgcmv5wi2xh5mbi", 507, "a piece of 508 bytes, not 507"),
        ("bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi", None, "is no PieceCID"),
        ("QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n", None, "is no PieceCID"),
        ("nonsense", None, "not a CID"),
    ],
)
def test_what_is_none_is_refused(text: str, size: int | None, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        PieceCID.parse(text, size)


@pytest.mark.parametrize(
    ("root", "height", "padding"),
    [
        (b"\xff" * 32, 4, 0),
        (bytes(31), 4, 0),
        (bytes(32), 1, 0),
        (bytes(32), 57, 0),
        (bytes(32), 4, 509),
        (bytes(32), 4, -1),
        (bytes(32), 20, (127 << 18) - 1),
        (bytes(32), 20, 127 << 18),
        (bytes(32), 3, 128),
    ],
)
def test_impossible_pieces_are_refused(root: bytes, height: int, padding: int) -> None:
    with pytest.raises(FormatError):
        PieceCID(root, height, padding)


def test_a_digest_with_bytes_behind_it_is_refused() -> None:
    cid = _cid(QUADS)
    longer = bytearray(bytes(cid.v2) + b"\0")
    longer[4] += 1  # the length of the digest
    with pytest.raises(FormatError, match="expected"):
        PieceCID.parse("f" + longer.hex())

"""A manifest of somebody else: what is not one is an error, and it cannot make a reader leave a piece."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.storage.cid import CID, DAG_PB, RAW
from holdfast.storage.errors import ConfigError, FormatError, HashMismatchError
from holdfast.storage.pieces.block_table import ROW, BlockPlace, BlockTable
from holdfast.storage.pieces.hasher import PieceHasher
from holdfast.storage.pieces.manifest import PieceManifest

ROOT = CID.of(DAG_PB, b"root")


def table(places: dict[bytes, list[BlockPlace]]) -> BlockTable:
    rows = np.empty(sum(map(len, places.values())), ROW)
    flat = [(digest, place) for digest, found in places.items() for place in found]
    random.Random(3).shuffle(flat)
    for at, (digest, place) in enumerate(flat):
        rows[at] = (np.frombuffer(digest, np.uint8), place.offset, place.length, place.piece, RAW)
    return BlockTable.of(rows)


def manifest() -> PieceManifest:
    pieces = []
    for seed in range(2):
        with PieceHasher() as hasher:
            hasher.update(random.Random(seed).randbytes(1000))
            pieces.append(hasher.finish())
    digests = [random.Random(10 + number).randbytes(32) for number in range(20)]
    places = {digest: [BlockPlace(number % 2, 10 * number, 10)] for number, digest in enumerate(digests)}
    return PieceManifest(ROOT, tuple(pieces), table(places))


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=30), st.integers(0, 2))
def test_what_is_there_is_found_and_nothing_else(digests: list[bytes], same_head: int) -> None:
    digests = [
        digest[:0] + bytes(8) + digest[8:] if same_head and at % 2 else digest for at, digest in enumerate(digests)
    ]
    places = {digest: [BlockPlace(2, 7, 1), BlockPlace(1, at, 5)] for at, digest in enumerate(digests)}
    found = table(places)
    for digest, (_, first) in places.items():
        assert list(found.find(digest)) == [first, BlockPlace(2, 7, 1)], "in every piece that has it, in their order"
        other = bytes([digest[0] ^ 1]) + digest[1:]
        assert bool(list(found.find(other))) == (other in places)
    BlockTable.parse(found.encode(), [100, 100, 100])
    assert len(list(found.of_piece(1))) == len(places)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = manifest()
    for name, data in made.files().items():
        (tmp_path / name).write_bytes(data)
    again = PieceManifest.read(tmp_path)
    assert (again.root, again.pieces, again.files()) == (made.root, made.pieces, made.files())


def _document(**more: Any) -> bytes:
    return json.dumps(json.loads(manifest().files()["pieces.json"]) | more).encode()


@pytest.mark.parametrize(
    "document",
    [
        b"", b"[]", b"null", b"{}", b"[" * 100_000, _document(format="holdfast-pieces/2"), _document(blocks=-1),
        _document(blocks="20"), _document(blocks=True), _document(root=3), _document(root="nonsense"),
        _document(pieces=[{"cid": "x", "bytes": 1000}]), _document(pieces=[{"cid": 3, "bytes": 1000}]),
        _document(pieces=None), _document(pieces=[3]), _document(pieces=[]),
        _document(pieces=[{"cid": str(ROOT), "bytes": 1000}]),
        _document(pieces=[{"cid": str(manifest().pieces[0].cid), "bytes": 999}] * 2),
        _document(pieces=[{"cid": str(manifest().pieces[0].cid), "bytes": 1 << 40}] * 2),
        _document(pieces=[{"cid": str(manifest().pieces[0].cid), "bytes": 1000}] * 70_000),
    ],
    ids=lambda document: document[:60].decode(),
)  # fmt: skip
def test_documents_that_are_none(document: bytes) -> None:
    files = manifest().files()
    with pytest.raises(FormatError):
        PieceManifest.parse(document, files["blocks.bin"], files["layers.bin"])


def test_layers_of_other_pieces_are_refused() -> None:
    files = manifest().files()
    layers = bytearray(files["layers.bin"])
    layers[5] ^= 1
    with pytest.raises(HashMismatchError):
        PieceManifest.parse(files["pieces.json"], files["blocks.bin"], bytes(layers))
    for cut in (files["layers.bin"][:-1], files["layers.bin"] + bytes(32), b""):
        with pytest.raises(FormatError):
            PieceManifest.parse(files["pieces.json"], files["blocks.bin"], cut)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("piece", 2),
        ("length", (2 << 20) + 1),
        ("offset", 995),
        ("offset", (1 << 64) - 5),
        ("digest", 0),
        ("codec", 0x71),
    ],
)
def test_rows_that_lead_out_of_a_piece_are_refused(column: str, value: int) -> None:
    files = manifest().files()
    rows = np.frombuffer(files["blocks.bin"], ROW).copy()
    rows[column][11] = value
    with pytest.raises(FormatError):
        PieceManifest.parse(files["pieces.json"], rows.tobytes(), files["layers.bin"])


def test_a_table_of_another_length_is_refused() -> None:
    files = manifest().files()
    for blocks in (files["blocks.bin"][:-1], files["blocks.bin"][:-48], files["blocks.bin"] + bytes(48), b""):
        with pytest.raises(FormatError):
            PieceManifest.parse(files["pieces.json"], blocks, files["layers.bin"])


def test_no_folder_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no piece manifest"):
        PieceManifest.read(tmp_path / "nowhere")
    for name, data in manifest().files().items():
        (tmp_path / name).write_bytes(data[:-1])
    with pytest.raises(ConfigError, match=str(tmp_path)):
        PieceManifest.read(tmp_path)


def test_a_table_that_is_cut_while_it_is_in_use_ends_nothing(tmp_path: Path) -> None:
    made = manifest()
    for name, data in made.files().items():
        (tmp_path / name).write_bytes(data)
    again = PieceManifest.read(tmp_path)
    digests = [bytes(row["digest"]) for row in np.frombuffer(made.files()["blocks.bin"], ROW)]
    assert [list(again.blocks.find(digest)) for digest in digests] == [list(made.blocks.find(one)) for one in digests]
    with (tmp_path / "blocks.bin").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(FormatError, match="became shorter"):
        list(again.blocks.find(digests[-1]))

"""Auditing pieces by the layer of their trees: providers that lie, cut, lost a piece; reports that others repeat."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from holdfast.pipeline.audit.draw import draw
from holdfast.pipeline.audit.pieces import audit_pieces
from holdfast.pipeline.audit.report import replay_of, signed_report
from holdfast.storage.cid import CID, DAG_PB
from holdfast.storage.errors import ConfigError, FormatError, SignatureError
from holdfast.storage.names.key import PrivateKey
from holdfast.storage.pieces.block_table import ROW, BlockTable
from holdfast.storage.pieces.hasher import PieceHasher
from holdfast.storage.pieces.manifest import PieceManifest
from holdfast.storage.pieces.piece import SUBTREE_BYTES, Piece
from holdfast.storage.sources.http import Endpoint
from holdfast.storage.sources.piece import PieceSource
from support.mirror_server import MirrorServer, Reply

SIZES = [3 * SUBTREE_BYTES + 77, 200]
SEED = "5eed"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> PieceManifest:
    pieces = tuple(map(_piece, range(len(SIZES))))
    return PieceManifest(CID.of(DAG_PB, b"root"), pieces, BlockTable(np.empty(0, ROW)))


@pytest.fixture(scope="module")
def provider(manifest: PieceManifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sp")
    (folder / "piece").mkdir()
    for number, piece in enumerate(manifest.pieces):
        (folder / f"piece/{piece.cid}").write_bytes(_payload(number))
    return folder


def _payload(number: int) -> bytes:
    return random.Random(number).randbytes(SIZES[number])


def _piece(number: int) -> Piece:
    with PieceHasher() as hasher:
        hasher.update(_payload(number))
        return hasher.finish()


def _flipped(at: int) -> Callable[[str, Reply], Reply]:
    def script(_: str, reply: Reply) -> Reply:
        if len(reply.body) > at:
            reply.body = reply.body[:at] + bytes([reply.body[at] ^ 1]) + reply.body[at + 1 :]
        return reply

    return script


def _other_range(_: str, reply: Reply) -> Reply:
    if reply.status == 206:
        reply.headers["Content-Range"] = "bytes 1-10/11"
    return reply


def _whole(_: str, reply: Reply) -> Reply:
    reply.status = 200
    reply.headers.clear()
    return reply


def _cut(_: str, reply: Reply) -> Reply:
    reply.cut = len(reply.body) - 1
    return reply


def test_an_honest_provider_passes(manifest: PieceManifest, provider: Path) -> None:
    for ranges in (True, False):
        with MirrorServer(provider, ranges=ranges) as server:
            found = audit_pieces(manifest, [PieceSource("sp", Endpoint(server.url), manifest)], samples=8, seed=SEED)
        assert (found.ok, found.providers[0].verdicts) == (True, {"OK": 8})
        asked = [challenge.file for challenge in draw(bytes.fromhex(SEED), manifest.root, SIZES, 8)]
        assert sorted(server.requests) == sorted(f"piece/{manifest.pieces[number].cid}" for number in asked)


@pytest.mark.parametrize(
    ("script", "verdict"),
    [(_flipped(0), "WRONG_BYTES"), (_flipped(76), "WRONG_BYTES"), (_other_range, "WRONG_BYTES"), (_cut, "TRUNCATED")],
)
def test_whoever_gives_something_else_fails(
    manifest: PieceManifest, provider: Path, script: Callable[[str, Reply], Reply], verdict: str
) -> None:
    with MirrorServer(provider, script) as bad, MirrorServer(provider) as good:
        sources = [PieceSource(name, Endpoint(url), manifest) for name, url in (("bad", bad.url), ("good", good.url))]
        found = audit_pieces(manifest, sources, samples=6, seed=SEED)
    assert not found.ok
    first, second = found.providers
    assert (first.verdict, first.failed) == (verdict, 6)
    assert "bytes " in first.first_failure
    assert second.ok, "nobody else is blamed"


def test_a_part_of_a_piece_is_not_taken_for_the_whole(manifest: PieceManifest, provider: Path) -> None:
    with MirrorServer(provider, _whole) as server:
        found = audit_pieces(manifest, [PieceSource("sp", Endpoint(server.url), manifest)], samples=4, seed=SEED)
    assert found.providers[0].failed == 4


def test_a_lost_piece_is_missing_and_the_rest_is_there(manifest: PieceManifest, provider: Path) -> None:
    lost = str(manifest.pieces[0].cid)
    with MirrorServer(provider, lambda path, _: Reply(404, {}, b"") if lost in path else None) as server:
        found = audit_pieces(manifest, [PieceSource("sp", Endpoint(server.url), manifest)], samples=20, seed=SEED)
    assert found.providers[0].verdicts["MISSING"] >= 19


def test_wrong_input(manifest: PieceManifest) -> None:
    with pytest.raises(ConfigError, match="nobody to audit"):
        audit_pieces(manifest, [])
    source = PieceSource("sp", Endpoint("http://127.0.0.1:9"), manifest)
    for options in ({"samples": 0}, {"seed": "xyz"}):
        with pytest.raises(ConfigError):
            audit_pieces(manifest, [source], **options)  # type: ignore[arg-type]


def test_a_report_is_repeated_by_somebody_else(manifest: PieceManifest, provider: Path) -> None:
    key = PrivateKey.of_seed(bytes(32))
    with MirrorServer(provider, _flipped(5)) as server:
        found = audit_pieces(manifest, [PieceSource("sp", Endpoint(server.url), manifest)], samples=3)
        data = signed_report(found, manifest, "2026-11-30T00:00:00+00:00", key)
        replay = replay_of(data, manifest)
        assert (replay.signer, replay.seed, replay.samples) == (key.name, found.seed, 3)
        asked = list(server.requests)
        again = audit_pieces(
            manifest, [PieceSource("sp", Endpoint(server.url), manifest)], samples=replay.samples, seed=replay.seed
        )
        assert sorted(server.requests[len(asked) :]) == sorted(asked)
    assert again.providers[0].verdicts == found.providers[0].verdicts


def test_a_report_that_was_changed_is_refused(manifest: PieceManifest) -> None:
    key = PrivateKey.of_seed(bytes(32))
    source = PieceSource("sp", Endpoint("http://127.0.0.1:9"), manifest)
    found = audit_pieces(manifest, [source], samples=1, seed=SEED)
    data = signed_report(found, manifest, "2026-11-30T00:00:00+00:00", key)
    document = json.loads(data)
    assert not found.ok
    for name, value in {"seed": "00", "samples": 2, "root": "x", "providers": []}.items():
        changed = document | {"report": document["report"] | {name: value}}
        with pytest.raises(SignatureError):
            replay_of(json.dumps(changed).encode(), manifest)
    with pytest.raises(SignatureError):
        other = document | {"signer": str(PrivateKey.of_seed(b"1" * 32).name)}
        replay_of(json.dumps(other).encode(), manifest)
    elsewhere = PieceManifest(manifest.root, manifest.pieces[:1], manifest.blocks)
    with pytest.raises(FormatError, match="other pieces"):
        replay_of(data, elsewhere)


_FLOATS = {"report": {"format": 1.5, "seed": 1, "samples": 1, "pieces": []}, "signer": "k51", "signature": ""}


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b'{"report":{},"signer":"x","signature":""}',
        b'{"report":[],"signer":1,"signature":2}', json.dumps(_FLOATS).encode(),
    ],
    ids=lambda data: data[:20].decode("latin1"),
)  # fmt: skip
def test_what_is_no_report(manifest: PieceManifest, data: bytes) -> None:
    with pytest.raises(FormatError):
        replay_of(data, manifest)

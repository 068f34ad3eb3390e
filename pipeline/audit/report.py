"""A signed report of an audit of pieces: who was asked for what, drawn how, and what came; for somebody else to repeat.

Canonical JSON without floats. The signature (Ed25519, the key of a name) is over a prefix and the report's own bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...storage.canonical import canonical_json
from ...storage.errors import ConfigError, FormatError, SignatureError
from ...storage.names.key import PrivateKey, is_signed
from ...storage.names.name import Name
from ...storage.pieces.manifest import PieceManifest
from .audit import AuditResult

FORMAT = "holdfast-piece-audit/1"
MAX_REPORT_BYTES = 64 << 20
_SIGNED = b"holdfast-piece-audit-signature:"
_HINT = "give the file that `holdfast piece audit --report` wrote"


@dataclass(frozen=True, slots=True)
class Replay:
    """What to ask again, and who signed for it."""

    signer: Name
    seed: str
    samples: int


def signed_report(
    result: AuditResult, manifest: PieceManifest, at: str, key: PrivateKey, chain: Mapping[str, Any] | None = None
) -> bytes:
    """The document. `at`: when it was asked (ISO 8601). `chain`: what was read there, and at which block."""
    providers = [
        {
            "name": one.name, "url": one.url, "verdict": one.verdict, "failed": one.failed, "verdicts": one.verdicts,
            "loss_at_most_ppm": round(1e6 * one.loss_at_most), "bytes": one.bytes,
            "slowest_ms": round(1e3 * one.seconds), "first_failure": one.first_failure,
        }
        for one in result.providers
    ]  # fmt: skip
    report = {
        "at": at, "format": FORMAT, "root": str(result.root), "seed": result.seed, "samples": result.samples,
        "pieces": [str(piece.cid) for piece in manifest.pieces], "providers": providers, **(chain or {}),
    }  # fmt: skip
    signature = key.sign(_SIGNED + canonical_json(report))
    return canonical_json({"report": report, "signature": signature.hex(), "signer": str(key.name)})


def replay_of(data: bytes, manifest: PieceManifest) -> Replay:
    """What a report says was asked. Raises `FormatError`; `SignatureError` unless its signer wrote it."""
    try:
        document: Any = json.loads(data)
        report, signer, signature = (document[key] for key in ("report", "signer", "signature"))
        kind, seed, samples, pieces, root = (report[key] for key in ("format", "seed", "samples", "pieces", "root"))
        name, mark = Name.parse(signer), bytes.fromhex(signature)
        signed = _SIGNED + canonical_json(report)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError) as error:
        raise FormatError(f"this is no report of an audit: {type(error).__name__}", hint=_HINT) from error
    if kind != FORMAT or not isinstance(seed, str) or type(samples) is not int:
        raise FormatError(f"a report of the format {str(kind)[:40]!r}, expected {FORMAT!r}", hint=_HINT)
    if not is_signed(name, signed, mark):
        raise SignatureError(f"the report is not signed by {name}", hint="ask for it again: it was changed")
    if (root, pieces) != (str(manifest.root), [str(piece.cid) for piece in manifest.pieces]):
        raise FormatError("the report is about other pieces than this manifest", hint="give the manifest it is about")
    return Replay(name, seed, samples)

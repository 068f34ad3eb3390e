"""`audit_pieces`: does a provider still give out pieces? 1 MiB after the other, drawn from a seed, judged by the layer.

The auditor needs the manifest and no data. A provider cannot answer out of anything shorter than the piece: which part
is asked for follows from the seed, which is drawn when the audit begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ...storage.errors import ConfigError
from ...storage.pieces.manifest import PieceManifest
from ...storage.pieces.piece import SUBTREE_BYTES, Piece
from ...storage.sources.piece import PieceSource
from ...storage.sources.source import Source
from ...storage.sources.transfer import Transfer
from .ask_all import ask_all
from .audit import MAX_SAMPLES, AuditResult, seed_of
from .draw import draw

DEFAULT_SAMPLES = 100  # at 99 %, no failure among so many bounds the loss at 4.5 %; each is 1 MB


@dataclass(frozen=True, slots=True)
class SubtreeQuestion:
    """The bytes below one kept root of a piece."""

    number: int
    piece: Piece
    index: int

    def put(self, source: Source, transfer: Transfer) -> bool:
        """See `Question.put`."""
        assert isinstance(source, PieceSource)
        start, end = self.piece.range_of(self.index)
        return self.piece.holds(self.index, source.fetch_range(self.piece.cid, start, end, transfer))

    def __str__(self) -> str:
        start, end = self.piece.range_of(self.index)
        return f"bytes {start}-{end - 1} of {self.piece.cid}"


def audit_pieces(
    manifest: PieceManifest,
    sources: Sequence[PieceSource],
    *,
    samples: int = DEFAULT_SAMPLES,
    seed: str | None = None,
    deadline_s: float = 30.0,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> AuditResult:
    """Audit each provider for all pieces of the manifest.

    Challenge `i` is the MiB that holds byte `sha256(seed ‖ root ‖ i) mod total` of the pieces, as `draw` has it.
    `seed`: hex; None: 32 random bytes, which the result names. `deadline_s`: for one answer. Raises `ConfigError`.
    """
    if not 1 <= samples <= MAX_SAMPLES:
        raise ConfigError(f"{samples} samples are not possible", hint=f"give --samples 1 to {MAX_SAMPLES}")
    if not sources:
        raise ConfigError("nobody to audit", hint="name providers: --from URL, or of kind filecoin in the roster")
    salt, sizes = seed_of(seed), [piece.cid.size for piece in manifest.pieces]

    def questions() -> Iterator[SubtreeQuestion]:
        for challenge in draw(salt, manifest.root, sizes, samples):
            yield SubtreeQuestion(challenge.number, manifest.pieces[challenge.file], challenge.offset // SUBTREE_BYTES)

    found = ask_all(sources, questions, samples, deadline_s, on_progress)
    return AuditResult(manifest.root, salt.hex(), samples, len(sizes), sum(sizes), found)

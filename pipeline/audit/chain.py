"""`audit_chain`: what the chain says of a data set's pieces: are they there, were they proven, was a deadline missed?

Reads Eth JSON-RPC at one settled block, without a key. Possession is what is proven there, not that a provider gives
the bytes to anybody: for that there are challenges (`audit_pieces`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ...storage.chain.agreed import Anchor, DisagreementError
from ...storage.chain.deployment import Deployment
from ...storage.chain.events import History, history
from ...storage.chain.registry import StorageProvider
from ...storage.chain.warm_storage import DataSetTerms, Proving
from ...storage.errors import PeerError, UnavailableError
from ...storage.pieces.manifest import PieceManifest
from ...storage.pieces.piece_cid import PieceCID

DEFAULT_BLOCKS = 30 * 2880  # of history: 30 days of Filecoin's epochs
_LIVE_BLOCKS = 900  # what most public endpoints still have, where they refuse more


class ChainVerdict(StrEnum):
    """Of one provider, or data set; the worst that holds, from the top."""

    DELETED = "DELETED"
    REPLACED = "REPLACED"
    MISSING = "MISSING"
    LATE = "LATE"
    UNKNOWN = "UNKNOWN"
    UNPROVEN = "UNPROVEN"
    PROVEN = "PROVEN"


@dataclass(frozen=True, slots=True)
class ChainFinding:
    """`data_sets`: which were looked at; `payers`: who pays for them. Epochs are block numbers, 0 for never. `blocks`:
    how far back events were read. `faults`: proving periods without a proof, in that time. `reasons`: in sentences, why
    it is not PROVEN.
    """

    name: str
    data_sets: tuple[int, ...]
    payers: tuple[str, ...]
    verdict: ChainVerdict
    pieces: int
    missing: tuple[str, ...]
    last_proven: int
    deadline: int
    proofs: int
    faults: int
    blocks: int
    reasons: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong: a data set that is not due yet is in order."""
        return self.verdict in (ChainVerdict.PROVEN, ChainVerdict.UNPROVEN)


@dataclass(frozen=True, slots=True)
class ChainAudit:
    """At `anchor`. `silent`: endpoints that did not answer something: then fewer than all agree on it."""

    network: str
    chain_id: int
    anchor: Anchor
    silent: tuple[str, ...]
    findings: tuple[ChainFinding, ...]
    expected: int = 0

    @property
    def ok(self) -> bool:
        """Whether every provider is in order, and they are as many as there are to be."""
        return all(one.ok for one in self.findings) and len(self.findings) >= self.expected


@dataclass
class _Tally:
    """What the data sets of one provider come to."""

    payers: set[str] = field(default_factory=set)
    active: set[PieceCID] = field(default_factory=set)
    removals: set[PieceCID] = field(default_factory=set)
    reasons: list[tuple[ChainVerdict, str]] = field(default_factory=list)
    last_proven: int = 0
    deadline: int = 0
    proofs: int = 0
    faults: int = 0
    blocks: int = 0


def audit_chain(
    manifest: PieceManifest,
    deployment: Deployment,
    providers: Sequence[tuple[str, StorageProvider | None]],
    payer: str | None,
    *,
    data_sets: Sequence[int] = (),
    blocks: int = DEFAULT_BLOCKS,
    expected: int = 0,
) -> ChainAudit:
    """Each provider's data sets that `payer` pays for; and `data_sets`, whoever stores and pays for them. Of None, a
    provider that the registry does not know (any more), nothing can be said.

    Raises as `Chain` does: `DisagreementError` where endpoints, or the events and the state of a contract, contradict
    each other: then nothing is known.
    """
    at = deployment.chain.anchor()
    wanted = tuple(piece.cid for piece in manifest.pieces)
    findings = []
    if providers and payer is not None:
        ours = deployment.service.sets_of(payer, at)
        for name, provider in providers:
            if provider is None:
                findings.append(_unknown(name, wanted))
                continue
            sets = [one.number for one in ours if one.provider_id == provider.number]
            findings.append(_finding(deployment, name, sets, provider.address, wanted, blocks, at))
    findings += [_finding(deployment, f"data set {number}", [number], None, wanted, blocks, at) for number in data_sets]
    if not deployment.chain.still(at):
        raise UnavailableError(
            f"the chain was reorganised while it was read: block {at.block.number} is another one now",
            hint="say it again; more confirmations in [filecoin] make this rarer",
        )
    return ChainAudit(
        deployment.network.name,
        deployment.network.chain_id,
        at,
        tuple(sorted(deployment.chain.failed)),
        tuple(findings),
        expected,
    )


def _unknown(name: str, wanted: tuple[PieceCID, ...]) -> ChainFinding:
    reason = "no provider of the registry has this URL (any more), or several have"
    missing = tuple(map(str, wanted))
    return ChainFinding(name, (), (), ChainVerdict.UNKNOWN, 0, missing, 0, 0, 0, 0, 0, (reason,))


def _finding(
    deployment: Deployment, name: str, sets: Sequence[int], address: str | None, wanted: tuple[PieceCID, ...],
    blocks: int, at: Anchor,
) -> ChainFinding:  # fmt: skip
    tally = _Tally()
    for number in sets:
        _look(deployment, number, address, set(wanted), tally, blocks, at)
    missing = tuple(str(piece) for piece in wanted if piece not in tally.active)
    gone = [piece for piece in wanted if piece in tally.removals and piece in tally.active]
    if missing:
        words = f"{len(missing)} of {len(wanted)} pieces are in no data set" if sets else "there is no data set"
        tally.reasons.append((ChainVerdict.MISSING, words))
    if gone:
        tally.reasons.append((ChainVerdict.MISSING, f"{len(gone)} pieces are about to be removed"))
    order = list(ChainVerdict)
    # a data set that ended is no loss while another one has all the pieces
    counts = [one for one in tally.reasons if missing or one[0] is not ChainVerdict.DELETED]
    verdict = min((one for one, _ in counts), key=order.index, default=ChainVerdict.PROVEN)
    return ChainFinding(
        name, tuple(sets), tuple(sorted(tally.payers)), verdict, len(wanted) - len(missing), missing,
        tally.last_proven, tally.deadline, tally.proofs, tally.faults, tally.blocks,
        tuple(words for _, words in tally.reasons),
    )  # fmt: skip


def _look(
    deployment: Deployment, number: int, address: str | None, wanted: set[PieceCID], tally: _Tally, blocks: int,
    at: Anchor,
) -> None:  # fmt: skip
    service, verifier = deployment.service, deployment.verifier
    terms = service.terms(number, at)
    if terms.number == number:  # all zeros for one that the service does not know
        tally.payers.add(terms.payer)
    if not verifier.live(number, at):
        tally.reasons.append((ChainVerdict.DELETED, f"data set {number} was deleted, or never was"))
        return
    state = verifier.state(number, at)
    active = verifier.pieces(number, at)
    if not wanted.intersection(active.values()):
        return  # another dataset's
    if state.listener != deployment.network.service.lower():
        tally.reasons.append((ChainVerdict.REPLACED, f"data set {number} belongs to the service {state.listener}"))
    expected = address or terms.provider
    if state.provider != expected:
        tally.reasons.append(
            (ChainVerdict.REPLACED, f"data set {number} is stored by {state.provider}, not {expected}")
        )
    if not terms.end_epoch or at.block.number <= terms.end_epoch:  # who is paid no longer keeps nothing
        tally.active |= set(active.values())
    tally.removals |= {active[one] for one in state.removals if one in active}
    proving = service.proving(number, at)
    events = _events(deployment, number, blocks, tally, at)
    _check(number, events, active)
    tally.last_proven = min(tally.last_proven, state.last_proven) if tally.last_proven else state.last_proven
    tally.deadline = min(tally.deadline or proving.deadline, proving.deadline)
    tally.proofs += len(events.proofs) if events else 0
    tally.faults += sum(one.periods for one in events.faults) if events else 0
    tally.reasons += _lateness(number, terms, proving, state.last_proven, events, at)
    new = state.leaves - state.challenge_range
    if state.last_proven == 0 or new > 0:
        words = f"{new} leaves of data set {number} were not drawn from yet" if state.last_proven else ""
        tally.reasons.append((ChainVerdict.UNPROVEN, words or f"data set {number} was not proven yet"))


def _lateness(
    number: int, terms: DataSetTerms, proving: Proving, last_proven: int, events: History | None, at: Anchor
) -> Iterable[tuple[ChainVerdict, str]]:
    now = at.block.number
    if terms.end_epoch:
        words = f"data set {number} is paid for until epoch {terms.end_epoch} and no longer"
        yield (ChainVerdict.DELETED if now > terms.end_epoch else ChainVerdict.LATE), words
    # `proven` and the deadline move on only when the provider begins the next period: one that quits never does
    if proving.deadline and now > proving.deadline + (proving.period if proving.proven else 0):
        yield ChainVerdict.LATE, f"data set {number} was not proven since epoch {last_proven}; it is {now}"
    missed = sum(one.periods for one in events.faults) if events else 0
    if missed:
        yield (
            ChainVerdict.LATE,
            f"data set {number} missed {missed} proving periods in the epochs that were read",
        )
    since = min((block for _, block in events.added.values()), default=now) if events else now
    if last_proven == 0 and now > since + 2 * proving.period:
        yield ChainVerdict.LATE, f"data set {number} has had pieces since epoch {since}, and was never proven"
    if events and events.providers:
        yield ChainVerdict.REPLACED, f"data set {number} was handed over to {events.providers[-1]}"


def _events(deployment: Deployment, number: int, blocks: int, tally: _Tally, at: Anchor) -> History | None:
    """As far back as asked for, or as the endpoints still know."""
    for depth in (blocks, min(blocks, _LIVE_BLOCKS)):
        first = max(0, at.block.number - depth)
        try:
            found = history(
                deployment.chain, deployment.network.verifier, deployment.network.service, number, first, at
            )
        except DisagreementError:
            raise
        except PeerError as error:
            why = error.message
            continue
        tally.blocks = max(tally.blocks, at.block.number - first)
        return found
    tally.reasons.append((ChainVerdict.UNKNOWN, f"the events of data set {number} could not be read: {why}"))
    return None


def _check(number: int, events: History | None, active: dict[int, PieceCID]) -> None:
    """The events are written by the same contract: where its state says something else, one of both is a lie."""
    if events is None:
        return
    for one, (piece, block) in events.added.items():
        if one in active and active[one] != piece:
            raise DisagreementError(
                f"piece {one} of data set {number} is {active[one]}, but {piece} was added in block {block}"
            )
        if one not in active and one not in events.removed:
            raise DisagreementError(f"piece {one} of data set {number} was added, not removed, and is not there")

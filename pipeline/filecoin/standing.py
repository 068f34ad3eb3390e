"""`Standing`: what one provider has of ours, read from the chain, with the signed messages that may still be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...configs.filecoin import Filecoin
from ...storage.chain.agreed import Anchor
from ...storage.chain.deployment import Deployment
from ...storage.chain.registry import StorageProvider
from ...storage.chain.warm_storage import DataSetTerms
from ...storage.errors import UnreachableError
from ...storage.pieces.piece_cid import PieceCID
from .journal import CopyState, Journal, Message, State

SOURCE_KEY = "source"  # of a data set's metadata: whose tool made it (filecoin-pin and synapse use it as a namespace)
INDEX_KEY = "withIPFSIndexing"  # "": the provider indexes the CARs, so that its /ipfs serves the blocks
MAX_BACK = 50  # blocks that a chain may be reorganised by, or endpoints differ in; more is an endpoint that is behind
_KEPT_STATES = (State.COMMITTED, State.PROVEN)


@dataclass(frozen=True, slots=True)
class OnChain:
    """Where an active piece is. `last_proven`: the epoch in which its data set was, 0 for never."""

    data_set: int
    piece_id: int
    last_proven: int


@dataclass(frozen=True, slots=True)
class Active:
    """At one block: data sets of ours at a provider that take pieces, all that it ever had, and the active pieces."""

    usable: tuple[DataSetTerms, ...]
    sets: int
    pieces: dict[PieceCID, OnChain]


@dataclass(frozen=True, slots=True)
class Standing:
    """At the anchor. `data_set`: the one to add to; None: one has to be made. `open`: messages, not used yet."""

    provider: StorageProvider
    data_set: DataSetTerms | None
    sets: int
    active: dict[PieceCID, OnChain]
    open: tuple[Message, ...]
    at: Anchor

    def missing(self, pieces: Sequence[PieceCID]) -> list[PieceCID]:
        """Those that are not paid for, or not yet."""
        return [piece for piece in dict.fromkeys(pieces) if piece not in self.active]


def standing(
    deployment: Deployment, table: Filecoin, payer: str, provider: StorageProvider, journal: Journal, at: Anchor
) -> Standing:
    """Read it, and bring the journal up to date with it. Raises as `Chain` and `Journal` do; `UnreachableError` for a
    state that is older than one that was acted on.

    The chain is right: what it has is committed, whatever the journal says; what it has no more is failed. A message
    whose nonce was used is closed; so is one for a data set that is deleted or ended. One whose data set was made
    without its pieces is about that data set from then on: the provider may still use the other half.
    """
    newest = journal.see(at.block.number)
    if at.block.number < newest - MAX_BACK:
        raise UnreachableError(
            f"the chain is read at block {at.block.number}, and {newest} was seen before: the endpoints are behind"
        )
    found = active_at(deployment, table, payer, provider, at)
    data_set = found.usable[0] if found.usable else None
    there = Standing(provider, data_set, found.sets, found.pieces, (), at)
    return replace(there, open=_settled(deployment, payer, there, journal, at))


def active_at(deployment: Deployment, table: Filecoin, payer: str, provider: StorageProvider, at: Anchor) -> Active:
    """What the chain says. Raises as `Chain` does."""
    service, verifier = deployment.service, deployment.verifier
    ours = [one for one in service.sets_of(payer, at) if one.provider_id == provider.number]
    usable = []
    active: dict[PieceCID, OnChain] = {}
    for terms in ours:
        if terms.end_epoch or service.metadata(terms.number, at).get(SOURCE_KEY) != table.source:
            continue
        if not verifier.live(terms.number, at):
            continue
        state = verifier.state(terms.number, at)
        if state.provider != provider.address:  # moved on to somebody else, whom nobody chose
            continue
        usable.append(terms)
        for number, piece in verifier.pieces(terms.number, at).items():
            if number not in state.removals:
                active[piece] = OnChain(terms.number, number, state.last_proven)
    return Active(tuple(usable), len(ours), active)


def _over(deployment: Deployment, message: Message, at: Anchor) -> bool:
    """Whether its data set takes no pieces any more, for good."""
    ended = deployment.service.terms(message.data_set, at).end_epoch != 0
    return ended or not deployment.verifier.live(message.data_set, at)


def _settled(deployment: Deployment, payer: str, found: Standing, journal: Journal, at: Anchor) -> tuple[Message, ...]:
    provider = found.provider.number
    still: list[Message] = []
    for noted_before in journal.open_messages(provider):
        message = noted_before
        if not message.data_set and (made := deployment.service.used(payer, message.client_id, at)):
            message = journal.bind(message, made[0])
        if deployment.service.used(payer, message.nonce, at) or (message.data_set and _over(deployment, message, at)):
            journal.close(message)
        else:
            still.append(message)
    noted = {one.piece: one for one in journal.copies(provider)}
    period = deployment.service.period(at) if found.active else 0
    rows = []
    for piece, where in found.active.items():
        before = noted.get(piece)
        since = before.since if before and before.since else at.block.number
        # what is proven was drawn when its period began: a whole period later it may have been drawn from
        state = State.PROVEN if where.last_proven > since + period else State.COMMITTED
        row = CopyState(
            provider, piece, state, "", before.uploaded_us if before else 0, where.data_set, where.piece_id, since
        )
        if before != row:
            rows.append(row)
    for piece, before in noted.items():
        if before.state in _KEPT_STATES and piece not in found.active:
            words = f"no longer in data set {before.data_set}"
            rows.append(replace(before, state=State.FAILED, message=words))
    if rows:
        journal.note(rows)
    return tuple(still)

"""`Copying`: pieces come to one provider, and are paid for once.

For each batch: its pieces are sent, or fetched by the provider from another one; a message is signed and written down;
it is handed to the provider; the chain is watched until it was used. Each step looks first whether it is done. A
message that may still be used is used again, and never replaced: its nonce follows from what it says, so that even one
that was signed anew, the journal being lost, is the same message to the contract, which takes it once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ...configs.filecoin import Filecoin
from ...configs.sizes import format_duration
from ...storage.chain.abi import keccak256
from ...storage.chain.deployment import Deployment
from ...storage.chain.registry import StorageProvider
from ...storage.chain.typed_data import add_data, create_and_add_data, create_data
from ...storage.chain.wallet import Wallet
from ...storage.errors import (
    ConfigError,
    HoldfastError,
    PeerError,
    UnavailableError,
    WithheldError,
    WrongBytesError,
)
from ...storage.pieces.piece_cid import PieceCID
from ...storage.pins.curio import MAX_PIECES_A_CALL, Curio
from .journal import CopyState, Journal, Message, State
from .standing import INDEX_KEY, SOURCE_KEY, Standing, standing

UNCLAIMED_S = 7200  # what a provider keeps that is not committed (curio: PDPUnclaimedUploadKeepHours)
_MAX_USED = 1000  # times that the same pieces were added and removed
_COMMIT_AFTER_S = UNCLAIMED_S / 2  # of uploading: then what is there is committed, and the rest comes after it

OnState = Callable[[CopyState], None]
Read = Callable[[PieceCID], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait. `wait_s`: for one batch to be on the chain; `poll_s`: between two looks."""

    wait_s: float = 3600.0
    poll_s: float = 5.0
    sleep: Callable[[float], None] = time.sleep
    check: Callable[[], None] = lambda: None


class Copying:
    """One provider. Construction asks nobody."""

    def __init__(
        self, deployment: Deployment, table: Filecoin, wallet: Wallet, payer: str, provider: StorageProvider,
        curio: Curio, journal: Journal, on_state: OnState, pace: Pace,
    ) -> None:  # fmt: skip
        self.provider = provider
        self._deployment, self._table, self._wallet, self._payer = deployment, table, wallet, payer
        self._curio, self._journal, self._on_state, self._pace = curio, journal, on_state, pace

    def standing(self) -> Standing:
        """What is there now. Raises as `standing` does."""
        chain = self._deployment.chain
        return standing(self._deployment, self._table, self._payer, self.provider, self._journal, chain.anchor())

    def run(self, pieces: Sequence[PieceCID], read: Read, source: str | None = None) -> Standing:
        """Until all pieces are on the chain, at the provider. `read`: the bytes of one; `source`: the URL of a provider
        that has them, to be fetched from there. Raises `PeerError`, `UnavailableError` when it takes too long: said
        again, it goes on. Pieces are noted as failed with what was said.
        """
        with self._journal.alone(self.provider.number):
            try:
                return self._run(pieces, read, source)
            except HoldfastError as error:
                now = [one for one in self._journal.copies(self.provider.number) if one.piece in set(pieces)]
                done = {one.piece for one in now if one.state in (State.COMMITTED, State.PROVEN)}
                for piece in pieces:
                    if piece not in done:
                        self._note(CopyState(self.provider.number, piece, State.FAILED, error.message))
                raise

    def _run(self, pieces: Sequence[PieceCID], read: Read, source: str | None) -> Standing:
        done: set[PieceCID] = set()
        while True:
            found = self.standing()
            missing = found.missing(pieces)
            if lost := done.intersection(missing):
                raise WithheldError(
                    f"{self._name} was paid for {lost.pop()}, and it is not in its data set",
                    hint="nothing more is signed for this provider: take another one",
                )
            if not missing:
                return found
            bound = [one for one in found.open if set(one.pieces) & set(missing)]
            waiting = bound or (found.open if found.data_set is None else ())  # one that makes the data set, too
            if waiting:
                message = waiting[0]
                if others := set(message.pieces).difference(pieces):
                    raise UnavailableError(
                        f"{self._name}: {len(others)} pieces of something else are in a message that may still be used",
                        hint="they were not quoted: finish the `pin add` that was cut before, then say this again",
                    )
            else:
                free = missing[:MAX_PIECES_A_CALL]
                if source is None:
                    free = self._upload(free, read)
                begun = self._begin(free)
                if begun is None:
                    continue
                message = begun
            self._finish(message, read, source)
            done.update(message.pieces)

    def _finish(self, message: Message, read: Read, source: str | None) -> None:
        if source is not None:
            self._pull(message, source)
        self._upload(message.pieces, read, at_once=False)
        self._await(self._send(message))

    def _upload(self, pieces: Sequence[PieceCID], read: Read, *, at_once: bool = True) -> list[PieceCID]:
        """Send what it does not have. `at_once`: no more than can be committed before the first is cleaned up."""
        began = time.monotonic()
        there: list[PieceCID] = []
        for piece in pieces:
            if at_once and there and time.monotonic() - began > _COMMIT_AFTER_S:
                break
            if not self._curio.has(piece):
                self._note(CopyState(self.provider.number, piece, State.PACKED))
                self._curio.upload(piece, read(piece), self._pace.check)
                self._note(CopyState(self.provider.number, piece, State.UPLOADED, uploaded_us=_now_us()))
                self._until(partial(self._curio.has, piece), f"{piece} to be parked")
            self._note(CopyState(self.provider.number, piece, State.PARKED, uploaded_us=_now_us()))
            there.append(piece)
        return there

    def _pull(self, message: Message, source: str) -> None:
        """Have it fetch them; what it cannot is sent from here afterwards."""
        wanted = {
            piece: f"{source.rstrip('/')}/piece/{piece}" for piece in message.pieces if not self._curio.has(piece)
        }
        if not wanted:
            return
        service, data_set, extra = self._deployment.network.service, message.data_set or None, self._signed(message)

        def done() -> bool:
            states = self._curio.pull(service, data_set, wanted, extra)
            return all(state in ("complete", "failed") for state in states.values())

        try:
            self._until(done, f"pieces to be fetched from {source}")
        except (PeerError, ConfigError, UnavailableError):  # it does no pulls, or not from there
            return

    def _begin(self, pieces: Sequence[PieceCID]) -> Message | None:
        """What is to be signed, written down before it is; None where nothing is left, as the chain has it now."""
        found = self.standing()  # anew: an upload may have taken an hour
        under_way = {piece for message in found.open for piece in message.pieces}
        pieces = [piece for piece in found.missing(pieces) if piece not in under_way]
        if not pieces:
            return None
        terms = found.data_set
        if terms is None:
            client_id = self._unused(found, lambda number: self._nonce("create", found.sets + number, b""))
        else:
            client_id = terms.client_id
        content = b"".join(bytes(piece.v2) for piece in pieces)
        # one that was used: they were added once before, and removed since, for at this block they are not there
        nonce = self._unused(found, lambda number: self._nonce(hex(client_id), number, content))
        number = 0 if terms is None else terms.number
        return self._journal.write(Message(0, self.provider.number, client_id, nonce, number, tuple(pieces), ""))

    def _unused(self, found: Standing, nonce: Callable[[int], int]) -> int:
        for number in range(_MAX_USED):
            self._pace.check()
            if self._deployment.service.used(self._payer, nonce(number), found.at) is None:
                return nonce(number)
        raise WrongBytesError(f"{_MAX_USED} nonces of the same message are said to be used: an endpoint lies")

    def _nonce(self, what: str, number: int, content: bytes) -> int:
        text = f"holdfast/{what}/{self._payer}/{self.provider.address}/{self._table.source}/{number}/"
        return int.from_bytes(keccak256(text.encode() + content), "big")

    def _signed(self, message: Message) -> bytes:
        """The same bytes each time, as long as the key is the same (RFC 6979)."""
        domain = self._deployment.domain
        add = add_data(domain, self._wallet, message.client_id, message.nonce, message.pieces)
        if message.data_set:
            return add
        metadata = {SOURCE_KEY: self._table.source, INDEX_KEY: ""}
        create = create_data(domain, self._wallet, self._payer, message.client_id, self.provider.address, metadata)
        return create_and_add_data(create, add)

    def _send(self, message: Message) -> Message:
        """Hand it over, unless the provider is at it, or it was used: an earlier call may have been cut."""
        if (message.sent and self._under_way(message)) or self._landed(message):
            return message
        extra = self._signed(message)
        try:
            if message.data_set:
                transaction = self._curio.add(message.data_set, message.pieces, extra)
            else:
                transaction = self._curio.create_and_add(self._deployment.network.service, message.pieces, extra)
        except PeerError:
            if self._landed(message):  # meanwhile; a second one is refused
                return message
            raise
        self._journal.sent(message, transaction)
        return replace(message, sent=transaction)

    def _under_way(self, message: Message) -> bool:
        try:
            if message.data_set:
                return self._curio.added(message.data_set, message.sent) is not False
            return self._curio.created(message.sent) is not False
        except PeerError:
            return False

    def _await(self, message: Message) -> None:
        """Until the chain shows it, `confirmations` deep: only then it is committed.

        A provider may have dropped its transaction, and call it pending for ever: half way it is given the same again.
        """
        again = time.monotonic() + self._pace.wait_s / 2

        def used() -> bool:
            nonlocal message, again
            if self._used(message):
                return True
            if time.monotonic() > again:
                again += self._pace.wait_s
                message = self._send(replace(message, sent=""))
            if message.sent and not self._under_way(message) and not self._landed(message):
                raise WithheldError(
                    f"{self._name}: the transaction {message.sent} failed, or is not known there any more",
                    hint="say it again: the same message is sent again, which can be paid for once",
                )
            return False

        self._until(used, "the pieces to be on the chain")

    def _landed(self, message: Message) -> bool:
        """Whether it is in the newest blocks; False where endpoints differ, as they may there."""
        try:
            return self._used(message, 0)
        except PeerError:
            return False

    def _used(self, message: Message, confirmations: int | None = None) -> bool:
        at = self._deployment.chain.anchor(confirmations)
        return self._deployment.service.used(self._payer, message.nonce, at) is not None

    @property
    def _name(self) -> str:
        return self._curio.provider.name

    def _until(self, done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + self._pace.wait_s
        while not done():
            self._pace.check()
            if time.monotonic() > end:
                raise UnavailableError(
                    f"{self._name}: waited {format_duration(self._pace.wait_s)} for {what}",
                    hint="say it again later: it goes on from here, and pays for nothing twice",
                )
            self._pace.sleep(self._pace.poll_s)

    def _note(self, state: CopyState) -> None:
        self._journal.note([state])
        self._on_state(state)


def _now_us() -> int:
    return time.time_ns() // 1000

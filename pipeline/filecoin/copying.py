"""`Copying`: pieces come to one provider, and are paid for once.

For each batch: its pieces are sent, or fetched by the provider from another one; a message is signed and written down;
it is handed to the provider; the chain is watched until it was used. Each step looks first whether it is done. A
message that may still be used is used again, and never replaced.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from ...configs.filecoin import Filecoin
from ...configs.sizes import format_duration
from ...storage.chain.deployment import Deployment
from ...storage.chain.registry import StorageProvider
from ...storage.errors import (
    ConfigError,
    HoldfastError,
    PeerError,
    UnavailableError,
    UnreachableError,
    WithheldError,
)
from ...storage.pieces.piece_cid import PieceCID
from ...storage.pins.curio import MAX_PIECES_A_CALL, Curio
from .allowance import Allowance
from .journal import CopyState, Journal, Message, State
from .messages import Messages
from .standing import Standing, standing

UNCLAIMED_S = 7200  # what a provider keeps that is not committed (curio: PDPUnclaimedUploadKeepHours)
_COMMIT_AFTER_S = UNCLAIMED_S / 2  # of uploading: then what is there is committed, and the rest comes after it

_TRIES = 3  # to hear all endpoints, before something is signed

T = TypeVar("T")
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
        self, deployment: Deployment, table: Filecoin, messages: Messages, payer: str, provider: StorageProvider,
        curio: Curio, journal: Journal, on_state: OnState, pace: Pace, allowance: Allowance,
    ) -> None:  # fmt: skip
        self.provider = provider
        self._deployment, self._table, self._messages, self._payer = deployment, table, messages, payer
        self._curio, self._journal, self._on_state, self._pace = curio, journal, on_state, pace
        self._allowance = allowance

    def standing(self) -> Standing:
        """What is there now. Raises as `standing` does."""
        chain = self._deployment.chain
        return standing(self._deployment, self._table, self._payer, self.provider, self._journal, chain.anchor())

    def run(self, pieces: Sequence[PieceCID], read: Read, source: str | None = None) -> Standing:
        """Until all pieces are on the chain, at the provider. `read`: the bytes of one; `source`: the URL of a provider
        that has them, to be fetched from there.

        Raises `PeerError`, `UnavailableError` when it takes too long, or costs more than is allowed: said again, it
        goes on. Pieces are noted as failed with what was said.
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
        batch = MAX_PIECES_A_CALL if source is None else 1  # alone: whether the provider fetches at all shows in it
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
            found = self._heard(self.standing)
            missing = found.missing(pieces)
            if not missing:
                continue
            message = self._waiting(found, pieces, missing)
            if message is None:
                message = self._begin(found, missing[:batch], read if source is None else None)
            if message is None:
                self._until(partial(self._changed, pieces, missing), "what was sent before to be confirmed")
                continue
            if source is not None and not self._pull(message, source):
                source = None  # what is left is sent from here before it is signed for
            batch = MAX_PIECES_A_CALL
            self._upload(message.pieces, read, at_once=False)
            self._await(self._send(message))
            done.update(message.pieces)

    def _changed(self, pieces: Sequence[PieceCID], missing: Sequence[PieceCID]) -> bool:
        return self.standing().missing(pieces) != missing

    def _waiting(self, found: Standing, pieces: Sequence[PieceCID], missing: Sequence[PieceCID]) -> Message | None:
        """A message that is signed and may still be used; also one that makes the data set."""
        bound = [one for one in found.open if set(one.pieces) & set(missing)]
        waiting = bound or (found.open if found.data_set is None else ())
        if not waiting:
            return None
        message = waiting[0]
        if others := set(message.pieces).difference(pieces):
            raise UnavailableError(
                f"{self._name}: {len(others)} pieces of something else are in a message that may still be used",
                hint="they were not quoted: finish the `pin add` that was cut before, then say this again",
            )
        cost = self._messages.cost(found, message.pieces, new_set=not message.data_set)
        self._allowance.take(self._name, cost)
        return message

    def _begin(self, found: Standing, pieces: Sequence[PieceCID], read: Read | None) -> Message | None:
        """What is to be signed next, written down before it is; None where nothing is left, as the chain has it now.

        `read`: what to send before, within the two hours that a provider keeps it.
        """
        new_set = found.data_set is None
        self._allowance.check(self._name, self._messages.cost(found, pieces, new_set=new_set))
        if read is not None:
            pieces = self._upload(pieces, read)

        def decide() -> tuple[Message | None, int]:
            now = self.standing()  # anew: an upload may have taken an hour
            message = self._messages.next(now, pieces)
            new_set = message is not None and not message.data_set
            return message, self._messages.cost(now, message.pieces, new_set=new_set) if message else 0

        message, cost = self._heard(decide)
        if message is None:
            return None
        self._allowance.take(self._name, cost)
        return self._journal.write(message)

    def _heard(self, read: Callable[[], T]) -> T:
        """What is read of the chain before something is signed: all endpoints have to have answered.

        Raises `UnreachableError`: those who are left may be the ones that lie.
        """
        chain = self._deployment.chain
        for _ in range(_TRIES):
            self._pace.check()
            chain.failed.clear()
            found = read()
            if not chain.failed:
                return found
            self._pace.sleep(self._pace.poll_s)
        raise UnreachableError(
            f"nothing is signed on the word of some endpoints alone: {', '.join(sorted(chain.failed))} is silent",
            hint="say it again later, or take it out of rpc in [filecoin]",
        )

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

    def _pull(self, message: Message, source: str) -> bool:
        """Have it fetch them; whether it did. What it did not is sent from here afterwards."""
        wanted = {
            piece: f"{source.rstrip('/')}/piece/{piece}" for piece in message.pieces if not self._curio.has(piece)
        }
        if not wanted:
            return True
        service, data_set = self._deployment.network.service, message.data_set or None
        extra, states = self._messages.signed(message), set[str]()

        def done() -> bool:
            states.clear()
            states.update(self._curio.pull(service, data_set, wanted, extra).values())
            return states <= {"complete", "failed"}

        try:
            self._until(done, f"pieces to be fetched from {source}")
        except (PeerError, ConfigError, UnavailableError):  # it does no pulls, or not from there
            return False
        return states == {"complete"}

    def _send(self, message: Message) -> Message:
        """Hand it over, unless the provider is at it, or it was used: an earlier call may have been cut."""
        if (message.sent and self._under_way(message)) or self._landed(message):
            return message
        extra = self._messages.signed(message)
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

"""`Chain`: several endpoints as one: what they say of a settled block has to be the same, or it is not believed.

An endpoint that is down is passed over, and named; one that says something else than another ends the reading: which of
them lies cannot be known here. All reads are of one block (`Anchor`) that is `confirmations` deep, so that a reader
sees one state, and a reorganised chain shows as another hash.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from ..errors import PeerError, UnreachableError, WrongBytesError
from .rpc import BlockHead, EthRpc, Log, NoBlockError, RevertError

T = TypeVar("T")
_MAX_APART = 20  # blocks: ten minutes
_APART_HINT = "take the one that is stuck, or lies, out of rpc: an explorer shows how far the chain is"
_MAX_LATE_S = 1800.0  # a chain has stood still for minutes; a state that is older is not today's
_MAX_NULL_ROUNDS = 100  # in a row; more than a few have not been seen


class DisagreementError(WrongBytesError):
    """Two endpoints say different things of one block: one of them lies, or follows another chain."""

    verdict = "DISAGREE"
    retryable = False


@dataclass(frozen=True, slots=True)
class Anchor:
    """The block that is read at, the head when it was chosen, and who answered and who did not."""

    block: BlockHead
    head: int
    witnesses: tuple[str, ...]
    silent: tuple[str, ...]
    asked: tuple[EthRpc, ...] = field(default=(), repr=False, compare=False)  # two may have one name: keys of one host


class Chain:
    """Reads of one block, agreed on by all endpoints that answer. Raises as `EthRpc` does, and `DisagreementError`."""

    def __init__(
        self, rpcs: Sequence[EthRpc], chain_id: int, confirmations: int, epoch_s: int = 30,
        now_s: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._rpcs, self.chain_id, self._confirmations = tuple(rpcs), chain_id, confirmations
        self._epoch_s, self._now_s = epoch_s, now_s
        self.failed: set[str] = set()  # endpoints that did not answer something that another one did

    def anchor(self, confirmations: int | None = None) -> Anchor:
        """A block that is so many below the lowest head, and which all have: its hash is compared."""
        depth = self._confirmations if confirmations is None else confirmations
        heads = self._each(lambda rpc: (rpc.chain_id(), rpc.head()))
        for rpc, found in heads.items():
            if isinstance(found, tuple) and found[0] != self.chain_id:
                raise WrongBytesError(f"{rpc.name} is an endpoint of chain {found[0]}, expected {self.chain_id}")
        known = {rpc: found[1] for rpc, found in heads.items() if isinstance(found, tuple)}
        if not known:
            raise UnreachableError("no endpoint of the chain answers: " + _reasons(heads))
        head, newest = min(known.values()), max(known.values())
        if newest - head > _MAX_APART:  # the lowest may be stuck, the highest may lie to be the only one that counts
            heads_said = ", ".join(f"{rpc.name} is at {at}" for rpc, at in known.items())
            raise DisagreementError(f"the endpoints do not follow one chain: {heads_said}", hint=_APART_HINT)
        number = max(0, head - depth)
        block = self._block(number, tuple(known))
        late_s = self._now_s() - block.time_s - depth * self._epoch_s
        if late_s > _MAX_LATE_S:
            raise UnreachableError(
                f"the newest block of {', '.join(rpc.name for rpc in known)} is {late_s:.0f} s too old to be believed"
            )
        silent = tuple(rpc.name for rpc in self._rpcs if rpc not in known)
        self.failed |= set(silent)
        return Anchor(block, head, tuple(rpc.name for rpc in known), silent, tuple(known))

    def _block(self, number: int, rpcs: tuple[EthRpc, ...]) -> BlockHead:
        """The block of this number, or the nearest below it that all have: an epoch may have none (a null round)."""
        for at in range(number, max(-1, number - _MAX_NULL_ROUNDS), -1):
            try:
                return self._agreed(partial(_block_of, at), "block", rpcs)
            except NoBlockError as error:
                problem = error
        raise problem

    def call(self, to: str, data: bytes, at: Anchor) -> bytes:
        """A read of a contract's state at the anchor."""
        return self._agreed(lambda rpc: rpc.call(to, data, at.block.number), f"a call of {to}", at.asked)

    def logs(self, address: str, topics: list[str | None], first: int, at: Anchor) -> list[Log]:
        """Events from block `first` to the anchor."""
        return self._agreed(
            lambda rpc: rpc.logs(address, topics, first, at.block.number), f"the events of {address}", at.asked
        )

    def still(self, at: Anchor) -> bool:
        """Whether the anchor's block is one of the chain still: False after it was reorganised."""
        try:
            return self._agreed(lambda rpc: rpc.block(at.block.number), "block", at.asked) == at.block
        except NoBlockError:
            return False

    def send(self, transaction: bytes) -> str:
        """Hand a signed transaction to the first endpoint that takes it; its hash."""
        problem: PeerError | None = None
        for rpc in self._rpcs:
            try:
                return str(rpc.ask("eth_sendRawTransaction", "0x" + transaction.hex()))
            except RevertError:
                raise
            except PeerError as error:
                problem = error
        raise problem or UnreachableError("no endpoint is named")

    @property
    def first(self) -> EthRpc:
        """The endpoint to ask for what needs no second opinion: what a transaction may cost, whether it is there."""
        return self._rpcs[0]

    def _agreed(self, read: Callable[[EthRpc], T], what: str, rpcs: tuple[EthRpc, ...]) -> T:
        answers = self._each(read, rpcs)
        said = {rpc: found for rpc, found in answers.items() if not isinstance(found, PeerError)}
        refused = [found for found in answers.values() if isinstance(found, RevertError)]
        if absent := [found for found in answers.values() if isinstance(found, NoBlockError)]:
            raise absent[0]
        away = {rpc.name for rpc, found in answers.items() if isinstance(found, PeerError) and found not in refused}
        if said and refused:
            raise DisagreementError(f"{what}: {', '.join(rpc.name for rpc in said)} answers, another reverts")
        if not said and not refused:
            wrong = [found for found in answers.values() if isinstance(found, PeerError)]
            raise wrong[0] if len(wrong) == 1 else type(wrong[0])(f"{what}: {_reasons(answers)}")
        self.failed |= away
        if refused:
            raise refused[0]
        (one, first), *others = said.items()
        for rpc, found in others:
            if found != first:
                raise DisagreementError(f"{one.name} and {rpc.name} do not agree on {what}")
        return first

    def _each(self, read: Callable[[EthRpc], T], rpcs: tuple[EthRpc, ...] | None = None) -> dict[EthRpc, T | PeerError]:
        asked = self._rpcs if rpcs is None else rpcs

        def guarded(rpc: EthRpc) -> T | PeerError:
            try:
                return read(rpc)
            except PeerError as error:
                return error

        if len(asked) == 1:
            return {asked[0]: guarded(asked[0])}
        with ThreadPoolExecutor(max(1, len(asked)), thread_name_prefix="chain") as pool:
            return dict(zip(asked, pool.map(guarded, asked), strict=True))


def _block_of(number: int, rpc: EthRpc) -> BlockHead:
    return rpc.block(number)


def _reasons(found: dict[EthRpc, T | PeerError]) -> str:
    return "; ".join(error.message for error in found.values() if isinstance(error, PeerError))

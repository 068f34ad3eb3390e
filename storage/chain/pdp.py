"""`PdpVerifier`: what is stored in a data set, and what of it was proven: read from FilOzone's PDPVerifier contract.

Reads of one data set at one anchor. PieceCIDs come as bytes from anybody who pays gas: they are parsed strictly.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ..cid import CID
from ..errors import FormatError, OversizeError, SlowError, WrongBytesError
from ..pieces.piece_cid import PieceCID
from .abi import Function, decode
from .agreed import Anchor, Chain
from .rpc import RevertError

NO_CHALLENGE = (0, 2**256 - 1)  # none is scheduled; the second one while a data set is cleaned up
MAX_ACTIVE_PIECES = 1 << 16
_PAGE = 100
_MAX_PAGES_S = 600.0  # of all pages

_LIVE = Function("dataSetLive", ("uint256",), ("bool",))
_PROVIDER = Function("getDataSetStorageProvider", ("uint256",), ("address", "address"))
_LISTENER = Function("getDataSetListener", ("uint256",), ("address",))
_LEAVES = Function("getDataSetLeafCount", ("uint256",), ("uint256",))
_RANGE = Function("getChallengeRange", ("uint256",), ("uint256",))
_NEXT = Function("getNextChallengeEpoch", ("uint256",), ("uint256",))
_PROVEN = Function("getDataSetLastProvenEpoch", ("uint256",), ("uint256",))
_REMOVALS = Function("getScheduledRemovals", ("uint256",), ("uint256[]",))
ACTIVE = ("(bytes)[]", "uint256[]", "bool")
_BY_CURSOR = Function("getActivePiecesByCursor", ("uint256",) * 3, ACTIVE)  # from 3.2.0 on
_BY_OFFSET = Function("getActivePieces", ("uint256",) * 3, ACTIVE)


@dataclass(frozen=True, slots=True)
class DataSetState:
    """A data set of the verifier. Epochs are block numbers; 0 for never. `challenge_epoch`: None if none is scheduled.

    `challenge_range`: leaves that the next proof is drawn from; pieces added since are not among them yet.
    """

    number: int
    provider: str
    listener: str
    leaves: int
    challenge_range: int
    challenge_epoch: int | None
    last_proven: int
    removals: tuple[int, ...]


class PdpVerifier:
    """One deployment. Raises as `Chain` does; `WrongBytesError` for answers that are not of their type."""

    def __init__(self, chain: Chain, address: str) -> None:
        self._chain, self.address = chain, address

    def live(self, number: int, at: Anchor) -> bool:
        """Whether the data set is there: False for one that was deleted, and for one that never was."""
        return bool(self._read(_LIVE, at, number)[0])

    def state(self, number: int, at: Anchor) -> DataSetState:
        """Of a data set that is live."""
        challenge = self._read(_NEXT, at, number)[0]
        return DataSetState(
            number,
            str(self._read(_PROVIDER, at, number)[0]).lower(),
            str(self._read(_LISTENER, at, number)[0]).lower(),
            self._read(_LEAVES, at, number)[0],
            self._read(_RANGE, at, number)[0],
            None if challenge in NO_CHALLENGE else challenge,
            self._read(_PROVEN, at, number)[0],
            tuple(self._read(_REMOVALS, at, number)[0]),
        )

    def pieces(self, number: int, at: Anchor) -> dict[int, PieceCID]:
        """The active pieces by their ids. Raises `OversizeError` for more than 65,536."""
        try:
            return self._pages(_BY_CURSOR, number, at)
        except RevertError:
            return self._pages(_BY_OFFSET, number, at)

    def _pages(self, function: Function, number: int, at: Anchor) -> dict[int, PieceCID]:
        found: dict[int, PieceCID] = {}
        start, end_s = 0, time.monotonic() + _MAX_PAGES_S
        while True:
            if time.monotonic() > end_s:
                raise SlowError(f"the pieces of data set {number} have not come in {_MAX_PAGES_S:.0f} s")
            answer = self._chain.call(self.address, function.encode(number, start, _PAGE), at)
            page, more = read_page(answer)
            if (more and not page) or not found.keys().isdisjoint(page):
                raise WrongBytesError(f"the pages of data set {number} do not go on")
            found |= page
            if len(found) > MAX_ACTIVE_PIECES:
                raise OversizeError(f"data set {number} has more than {MAX_ACTIVE_PIECES} pieces")
            if not more:
                return found
            start = max(page) + 1 if function is _BY_CURSOR else len(found)

    def _read(self, function: Function, at: Anchor, *values: int) -> tuple[Any, ...]:
        return function.decode(self._chain.call(self.address, function.encode(*values), at))


def read_page(data: bytes) -> tuple[dict[int, PieceCID], bool]:
    """Active pieces by their ids, as a contract answers, and whether there are more. Raises `WrongBytesError`."""
    cids, ids, more = decode(ACTIVE, data, "active pieces")
    if len(cids) != len(ids) or len(set(ids)) != len(ids) or any(one >= 1 << 62 for one in ids):
        raise WrongBytesError(f"{len(ids)} ids of {len(cids)} pieces")
    return dict(zip(ids, (piece_of(one) for (one,) in cids), strict=True)), more


def piece_of(data: bytes) -> PieceCID:
    """A PieceCID out of its bytes. Raises `WrongBytesError`."""
    try:
        return PieceCID.from_v2(CID.from_bytes(data))
    except FormatError as error:
        raise WrongBytesError(f"{data.hex()[:100]} is no PieceCID of version 2") from error

"""What happened to a data set, out of the events of its contracts: both forms in which pieces were added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import WrongBytesError
from ..pieces.piece_cid import PieceCID
from .abi import Event, decode, hexadecimal
from .agreed import Anchor, Chain
from .pdp import piece_of
from .rpc import Log

ADDED = Event("PiecesAdded", ("uint256",), ("uint256[]", "(bytes)[]"))  # before 3.5.0
ADDED_V2 = Event("PiecesAddedV2", ("uint256",), ("uint256", "(bytes32,bytes32)[]"))
REMOVED = Event("PiecesRemoved", ("uint256",), ("uint256[]",))
PROVEN = Event("PossessionProven", ("uint256",), ("(uint256,uint256)[]",))
REPLACED = Event("StorageProviderChanged", ("uint256", "address", "address"), ())
FAULT = Event("FaultRecord", ("uint256",), ("uint256", "uint256"))


@dataclass(frozen=True, slots=True)
class Fault:
    """A provider that did not prove in time: how many periods, and the deadline that passed."""

    block: int
    periods: int
    deadline: int


@dataclass(frozen=True, slots=True)
class History:
    """Of a data set, from block `first` on, in the order of the chain. Pieces by their ids, with their blocks.

    `proofs`: the blocks of proofs. `providers`: to whom it was handed over.
    """

    first: int
    added: dict[int, tuple[PieceCID, int]]
    removed: dict[int, int]
    proofs: tuple[int, ...]
    faults: tuple[Fault, ...]
    providers: tuple[str, ...]


def history(chain: Chain, verifier: str, service: str, number: int, first: int, at: Anchor) -> History:
    """Read it. `service`: the listener, whose event a fault is. Raises as `Chain` does."""
    mark = hexadecimal(number)
    kinds = {event.topic: event for event in (ADDED, ADDED_V2, REMOVED, PROVEN, REPLACED)}
    added: dict[int, tuple[PieceCID, int]] = {}
    removed: dict[int, int] = {}
    proofs: list[int] = []
    providers: list[str] = []
    for log in chain.logs(verifier, [None, mark], first, at):
        event = kinds.get(log.topics[0]) if log.topics else None
        if event in (ADDED, ADDED_V2):
            added.update({one: (cid, log.block) for one, cid in pieces_added(log).items()})
        elif event is REMOVED:
            removed.update(dict.fromkeys(_data(event, log)[0], log.block))
        elif event is PROVEN:
            proofs.append(log.block)
        elif event is REPLACED and len(log.topics) == 4:
            providers.append("0x" + log.topics[3][-20:].hex())
    faults = _faults(chain.logs(service, [hexadecimal(FAULT.topic), mark], first, at))
    return History(first, added, removed, tuple(proofs), faults, tuple(providers))


def pieces_added(log: Log) -> dict[int, PieceCID]:
    """The pieces of one event of either form, by their ids. Raises `WrongBytesError`."""
    if log.topics and log.topics[0] == ADDED.topic:
        ids, cids = _data(ADDED, log)
        if len(ids) != len(cids):
            raise WrongBytesError(f"PiecesAdded names {len(ids)} ids and {len(cids)} pieces")
        return dict(zip(ids, (piece_of(data) for (data,) in cids), strict=True))
    first, packed = _data(ADDED_V2, log)
    # The header is right-aligned: zeros before it are padding, zeros within it are its own (pdp 3.5.0, IPDPEvents).
    return {first + i: piece_of(header.lstrip(b"\0") + root) for i, (header, root) in enumerate(packed)}


def _faults(logs: list[Log]) -> tuple[Fault, ...]:
    return tuple(Fault(log.block, *_data(FAULT, log)) for log in logs)


def _data(event: Event, log: Log) -> tuple[Any, ...]:
    return decode(event.data, log.data, event.name)

"""What contracts answer, which anybody may have written for a little gas: lists of pieces, events, registry entries."""

from __future__ import annotations

from fuzz.target import target
from holdfast.storage.chain import events, pdp, registry
from holdfast.storage.chain.abi import encode
from holdfast.storage.chain.rpc import Log
from holdfast.storage.pieces.piece_cid import PieceCID

_CID = bytes(PieceCID.of(b"\x01" * 31 + b"\x02", 1_000_000).v2)
_PROVIDER = (
    7, ("0x" + "11" * 20, "0x" + "22" * 20, b"name", b"about", True), (0, [b"serviceURL", b"location"], True),
    [b"https://sp.example/", b"C=DE"],
)  # fmt: skip


def _log(topic: bytes, data: bytes) -> Log:
    return Log("0x", (topic, bytes(32)), data, 1, 0, "0x")


@target(lambda: [encode(pdp.ACTIVE, ([(_CID,)], [3], False))], factor=20_000)
def chain_pieces(data: bytes) -> object:
    return pdp.read_page(data)


@target(lambda: [encode(events.ADDED.data, ([1], [(_CID,)]))], factor=20_000)
def chain_added(data: bytes) -> object:
    return events.pieces_added(_log(events.ADDED.topic, data))


@target(lambda: [encode(events.ADDED_V2.data, (1, [(_CID[:-32].rjust(32, b"\0"), _CID[-32:])]))], factor=20_000)
def chain_added_packed(data: bytes) -> object:
    return events.pieces_added(_log(events.ADDED_V2.topic, data))


@target(lambda: [encode(registry.BY_TYPE.gives, (([_PROVIDER], False),))], factor=20_000)
def chain_providers(data: bytes) -> object:
    found, _, _ = registry.read_page(data)
    assert all(one.url.startswith(("http://", "https://")) for one in found)
    return found

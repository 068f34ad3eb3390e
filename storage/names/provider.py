"""`ProviderRecord`: who has a block, as delegated routers say it: a claim by whoever answers, never more.

Specification: specs.ipfs.tech/routing/http-routing-v1 (peer schema; filters: IPIP-0484). Pure, bounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import WrongBytesError
from ..multiaddr import url_of

GATEWAY = "transport-ipfs-gateway-http"
UNKNOWN = "unknown"  # in filters: what a record does not say
MAX_RECORDS = 100  # of one answer: what the specification advises routers to send
_MAX_ADDRESSES = 20
_MAX_CHARS = 1000


@dataclass(frozen=True, slots=True)
class ProviderRecord:
    """A peer: its id, its multiaddrs, and the protocols that it is said to speak."""

    peer: str
    addresses: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        """Where it is a trustless gateway; none for a peer that speaks libp2p only.

        A router that names no protocols (Kubo passes them on to nobody) is taken at its addresses: of HTTP there are
        only gateways.
        """
        if self.protocols and GATEWAY not in self.protocols:
            return ()
        return tuple(dict.fromkeys(url for address in self.addresses if (url := url_of(address))))

    def document(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "Schema": "peer", "ID": self.peer, "Addrs": list(self.addresses), "Protocols": list(self.protocols)
        }  # fmt: skip

    def filtered(self, by_address: Sequence[str], by_protocol: Sequence[str]) -> ProviderRecord | None:
        """What the filters of a request leave of it; None for nothing. Names in lower case; `!name` excludes."""
        if by_protocol and not set(self.protocols or (UNKNOWN,)) & set(by_protocol):
            return None
        if not by_address:
            return self
        if not self.addresses:
            return self if UNKNOWN in by_address else None
        without = {name[1:] for name in by_address if name.startswith("!")}
        wanted = {name for name in by_address if not name.startswith("!")}
        kept = []
        for address in self.addresses:
            names = set(address.split("/"))
            if not names & without and (not wanted or names & wanted):
                kept.append(address)
        return ProviderRecord(self.peer, tuple(kept), self.protocols) if kept else None


def read_providers(body: bytes, content_type: str) -> list[ProviderRecord]:
    """The first records of an answer, JSON or NDJSON (which may be cut); others and their schemas are passed over.

    Raises `WrongBytesError` for what is neither.
    """
    try:
        lines = content_type.partition(";")[0].strip().lower() == "application/x-ndjson"
        entries = list(_lines(body)) if lines else _listed(json.loads(body))
    except (ValueError, RecursionError) as error:
        raise WrongBytesError("the answer of the router is not JSON") from error
    records = (record for entry in entries if (record := _record(entry)))
    return [record for _, record in zip(range(MAX_RECORDS), records, strict=False)]


def _listed(found: object) -> list[object]:
    if not isinstance(found, dict):
        raise ValueError("not an object")
    listed = found.get("Providers")
    return listed if isinstance(listed, list) else []


def _lines(body: bytes) -> Iterator[object]:
    *lines, last = body.split(b"\n")
    for line in lines:
        if line.strip():
            yield json.loads(line)
    try:  # the answer may have been cut here
        yield json.loads(last)
    except ValueError:
        return


def _record(entry: object) -> ProviderRecord | None:
    if not isinstance(entry, dict) or entry.get("Schema") != "peer":
        return None
    peer = entry.get("ID")
    if not isinstance(peer, str) or len(peer) > _MAX_CHARS:
        return None
    protocols = entry.get("Protocols") or []
    if not isinstance(protocols, list):  # what is no list names something else than nothing
        return ProviderRecord(peer)
    return ProviderRecord(peer, _texts(entry.get("Addrs")), _texts(protocols))


def _texts(found: object) -> tuple[str, ...]:
    if not isinstance(found, list):
        return ()
    return tuple(item for item in found[:_MAX_ADDRESSES] if isinstance(item, str) and len(item) <= _MAX_CHARS)

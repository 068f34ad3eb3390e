"""`HttpPlace`: a peer, a delegated router or a gateway as a place for names.

Specifications: specs.ipfs.tech/routing/http-routing-v1 ("IPNS API", IPIP-0513 for what is not there) and
specs.ipfs.tech/http-gateways/trustless-gateway (`format=ipns-record`).
"""

from __future__ import annotations

from collections.abc import Mapping

from ...configs.roster import Provider
from ..control import Control, Reply, refusal
from ..pins.answers import read_reason
from ..printable import printable
from .name import Name
from .record import MAX_RECORD_BYTES

RECORD_TYPE = "application/vnd.ipfs.ipns-record"
NAMING_KINDS = ("peer", "gateway", "router")  # of a roster: those that are asked where a name points
KEEPING_KINDS = ("peer", "router")  # those that a record is given to
_MAX_ANSWER_BYTES = MAX_RECORD_BYTES + (4 << 10)  # what comes instead of a record: a page that says why
_TIMEOUT_S = 10.0


class HttpPlace:
    """A `NamePlace`. Asked as a router first, then as a gateway: nobody needs to know which it is."""

    def __init__(self, provider: Provider, *, env: Mapping[str, str] | None = None) -> None:
        self._control = Control(provider, env=env)

    @property
    def name(self) -> str:
        """See `NamePlace.name`."""
        return self._control.provider.name

    def get(self, name: Name) -> bytes | None:
        """See `NamePlace.get`."""
        for target in (f"/routing/v1/ipns/{name}", f"/ipns/{name}?format=ipns-record"):
            reply = self._call("GET", target, None, {"Accept": RECORD_TYPE})
            if reply.status == 200 and reply.content_type.partition(";")[0].strip() == RECORD_TYPE:
                return reply.body
            if not _absent(reply):
                raise refusal(self.name, reply, _reason(reply), "this name")
        return None

    def put(self, name: Name, record: bytes) -> None:
        """See `NamePlace.put`."""
        reply = self._call("PUT", f"/routing/v1/ipns/{name}", record, {"Content-Type": RECORD_TYPE})
        if not 200 <= reply.status < 300:
            raise refusal(self.name, reply, _reason(reply), "the way to keep names (/routing/v1/ipns)")

    def _call(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        return self._control.call(
            method, target, body, headers=headers, max_bytes=_MAX_ANSWER_BYTES, timeout_s=_TIMEOUT_S
        )


def _reason(reply: Reply) -> str:
    """Its own words: of a pinning service's error object, or the first line of a text."""
    if not reply.content_type.startswith("text/plain"):
        return read_reason(reply.body)
    line = reply.body.decode("utf-8", "replace").strip().partition("\n")[0]
    return printable(line, 200)


def _absent(reply: Reply) -> bool:
    """Whether the answer says that there is no record, or that this is no such interface."""
    if reply.status == 200:
        return True  # IPIP-0513: 200 with text
    if reply.status == 500:
        return b"not found" in reply.body  # Kubo 0.43: "routing: not found"
    return (400 <= reply.status < 500 and reply.status not in (401, 403, 429)) or reply.status == 501

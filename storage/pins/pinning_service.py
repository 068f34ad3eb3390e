"""`PinningService`: a client of the IPFS Pinning Service API v1 (a holdfast peer, or anybody's)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import quote, urlencode

from ...configs.roster import Provider
from ..cid import CID
from ..control import Control, refusal
from ..errors import MissingError, OversizeError, QuotaError, WrongBytesError
from .answers import read_json, read_pin, read_reason
from .pin import Pin, Status, format_time
from .target import UNFINISHED

PINNING_KINDS = ("peer", "pinning-service")  # the service lies at the provider's URL: URL/pins
_PAGE = 100  # requests of 4 KiB at most
_MAX_PINS = 1_000_000


class PinningService:
    """A `PinTarget`. Construction does no IO; the token is read from the environment at each call."""

    takes_cars = False

    def __init__(self, provider: Provider, *, env: Mapping[str, str] | None = None) -> None:
        self.provider = provider
        self._control = Control(provider, env=env)

    @property
    def name(self) -> str:
        """See `PinTarget.name`."""
        return self.provider.name

    def add(self, cid: CID, name: str, origins: Sequence[str]) -> Pin:
        """See `PinTarget.add`."""
        known = self.ls(cid, (Status.PINNED, *UNFINISHED))
        for pin in known:
            if pin.status is Status.PINNED or set(pin.origins) >= set(origins):
                return pin
        body = {"cid": str(cid), "name": name, "origins": list(origins)}
        replaced = f"/{quote(known[0].requestid, safe='')}" if known else ""
        return read_pin(self._ask("POST", f"/pins{replaced}", body))

    def status(self, requestid: str) -> Pin:
        """See `PinTarget.status`."""
        return read_pin(self._ask("GET", f"/pins/{quote(requestid, safe='')}"))

    def ls(self, cid: CID | None = None, statuses: Collection[Status] = tuple(Status)) -> list[Pin]:
        """See `PinTarget.ls`. Follows the pages of the service, also of one that makes them shorter than it was asked.

        Raises `WrongBytesError` for pages that do not go on, `OversizeError` for a list without an end: part of a list
        would say of what is not in it that it is gone.
        """
        found: dict[str, Pin] = {}
        query = {"status": ",".join(status.value for status in statuses), "limit": str(_PAGE)}
        if cid is not None:
            query["cid"] = str(cid)
        total: int | None = None
        while len(found) <= _MAX_PINS:
            answer = self._ask("GET", f"/pins?{urlencode(query)}")
            results, count = answer.get("results"), answer.get("count")
            if not isinstance(results, list):
                raise WrongBytesError(f'{self.name}: a list of pins has no "results"')
            if total is None and isinstance(count, int):
                total = count  # of all; on later pages some mean all, and some what is left
            page = [read_pin(entry) for entry in results]
            new = [pin for pin in page if pin.requestid not in found]
            found.update((pin.requestid, pin) for pin in new)
            if total is None:
                whole = len(page) < _PAGE or not new
            else:
                whole = len(found) >= total
            if whole:
                break
            if not new:
                raise WrongBytesError(f"{self.name}: the pages of its list do not go on: {len(found)} of {total} pins")
            # one more than the oldest: pins of one moment may lie on both sides of the border
            query["before"] = format_time(min(pin.created_us for pin in page) + 1)
        else:
            raise OversizeError(f"{self.name}: a list of more than {_MAX_PINS} pins")
        # A service that passes over a filter must not make a foreign pin, or a failed one, look like ours.
        same = None if cid is None else cid.v1()
        return [pin for pin in found.values() if pin.status in statuses and (same is None or pin.cid.v1() == same)]

    def rm(self, requestid: str) -> None:
        """See `PinTarget.rm`."""
        try:
            self._ask("DELETE", f"/pins/{quote(requestid, safe='')}")
        except MissingError:
            return

    def close(self) -> None:
        """See `PinTarget.close`. Connections last as long as a call."""

    def _ask(self, method: str, target: str, body: object = None) -> dict[str, object]:
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        reply = self._control.call(method, target, data, headers=headers)
        if 200 <= reply.status < 300:
            return read_json(reply.body) if reply.body else {}
        reason = read_reason(reply.body)
        if reply.status in (402, 409, 507):
            said = f" ({reason})" if reason else ""
            raise QuotaError(f"{self.name} has no room for this pin{said}", hint="raise its limit, or name another")
        raise refusal(self.name, reply, reason, "this pin")

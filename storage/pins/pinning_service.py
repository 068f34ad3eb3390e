"""`PinningService`: a client of the IPFS Pinning Service API v1 (a holdfast peer, or anybody's)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import quote, urlencode

from ...configs.roster import Provider
from ..cid import CID
from ..control import Control, refusal
from ..errors import MissingError, QuotaError, WrongBytesError
from .answers import read_json, read_pin, read_reason
from .pin import Pin, Status, format_time
from .target import UNFINISHED

PINNING_KINDS = ("peer", "pinning-service")  # the service lies at the provider's URL: URL/pins
_PAGE = 100  # requests of 4 KiB at most
_MAX_PAGES = 1000


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
        """See `PinTarget.ls`. Follows the pages of the service."""
        found: dict[str, Pin] = {}
        query = {"status": ",".join(status.value for status in statuses), "limit": str(_PAGE)}
        if cid is not None:
            query["cid"] = str(cid)
        for _ in range(_MAX_PAGES):
            results = self._ask("GET", f"/pins?{urlencode(query)}").get("results")
            if not isinstance(results, list):
                raise WrongBytesError(f'{self.name}: a list of pins has no "results"')
            page = [read_pin(entry) for entry in results]
            new = [pin for pin in page if pin.requestid not in found]
            found.update((pin.requestid, pin) for pin in new)
            if len(page) < _PAGE or not new:
                break
            query["before"] = format_time(min(pin.created_us for pin in page))
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

"""`PinningService`: a client of the IPFS Pinning Service API v1 (a holdfast peer, or anybody's)."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import urllib.request
from collections.abc import Collection, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import aiohttp

from ...configs.roster import Provider
from ..cid import CID
from ..errors import (
    ConfigError,
    MissingError,
    OversizeError,
    PeerError,
    QuotaError,
    SlowError,
    UnreachableError,
    WithheldError,
    WrongBytesError,
)
from .answers import read_json, read_pin, read_reason
from .pin import Pin, Status, format_time
from .target import UNFINISHED

T = TypeVar("T")
PINNING_KINDS = ("peer", "pinning-service")  # the service lies at the provider's URL: URL/pins
_MAX_ANSWER_BYTES = 4 << 20  # 1,000 requests of 4 KiB
_PAGE = 100
_MAX_PAGES = 1000
_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=5)


class PinningService:
    """A `PinTarget`. Construction does no IO; the token is read from the environment at each call."""

    def __init__(self, provider: Provider, *, env: Mapping[str, str] | None = None) -> None:
        self.provider = provider
        self._env: Mapping[str, str] = os.environ if env is None else env

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
        return list(found.values())

    def rm(self, requestid: str) -> None:
        """See `PinTarget.rm`."""
        try:
            self._ask("DELETE", f"/pins/{quote(requestid, safe='')}")
        except MissingError:
            return

    def close(self) -> None:
        """See `PinTarget.close`. Connections last as long as a call."""

    def _ask(self, method: str, target: str, body: object = None) -> dict[str, object]:
        headers = {"Accept": "application/json", **self.provider.headers(self._env)}
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        url = self.provider.url.rstrip("/") + target
        try:
            status, answer = _run(_request(method, url, headers, data, self._context(), _proxy(url)))
        except TimeoutError as error:
            raise SlowError(f"{self.name} did not answer in time") from error
        except PeerError:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnreachableError(f"{self.name} cannot be reached: {error or type(error).__name__}") from error
        if 200 <= status < 300:
            return read_json(answer) if answer else {}
        raise self._refusal(status, read_reason(answer), authorized="Authorization" in headers)

    def _refusal(self, status: int, reason: str, *, authorized: bool) -> Exception:
        said = f" ({reason})" if reason else ""
        if status in (401, 403):
            which = "refuses the token" if authorized else "wants a token"
            return ConfigError(
                f"{self.name} {which}{said}", hint="set token_env or token_file of this provider in the roster"
            )
        if status in (402, 409, 507):
            return QuotaError(f"{self.name} has no room for this pin{said}", hint="raise its limit, or name another")
        if status == 404:
            return MissingError(f"{self.name} does not know this pin{said}")
        if 300 <= status < 400:
            return UnreachableError(f"{self.name} redirects ({status}); a token is not sent elsewhere")
        if status == 429 or status >= 500:
            return UnreachableError(f"{self.name} answers {status}{said}")
        return WithheldError(f"{self.name} refuses the request: {status}{said}")

    def _context(self) -> ssl.SSLContext | None:
        if urlsplit(self.provider.url).scheme != "https":
            return None
        try:
            return ssl.create_default_context(cafile=self.provider.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"ca_file {self.provider.ca_file}: {error}", hint="give a PEM file") from error


async def _request(
    method: str, url: str, headers: Mapping[str, str], data: bytes | None, tls: ssl.SSLContext | None, proxy: str | None
) -> tuple[int, bytes]:
    async with (
        aiohttp.ClientSession(timeout=_TIMEOUT, auto_decompress=False) as session,
        session.request(
            method, url, headers=headers, data=data, ssl=tls or True, proxy=proxy, allow_redirects=False
        ) as answer,
    ):
        body = bytearray()
        async for part in answer.content.iter_any():
            body += part
            if len(body) > _MAX_ANSWER_BYTES:
                raise OversizeError(f"the answer is longer than {_MAX_ANSWER_BYTES} bytes")
        return answer.status, bytes(body)


def _proxy(url: str) -> str | None:
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    address = urllib.request.getproxies().get(parts.scheme)
    return address if not address or "//" in address else f"http://{address}"


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; in a thread of its own where this one has a loop already (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()

"""`Control`: calls to the HTTP interface of one provider: pins, names, routing. Small answers, none retried.

Bulk bytes do not come this way: see `sources`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import urllib.request
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from ..configs.roster import Provider
from .errors import (
    ConfigError,
    MissingError,
    OversizeError,
    PeerError,
    SlowError,
    UnreachableError,
    WithheldError,
    WrongBytesError,
)
from .printable import printable
from .sources.netguard import NetGuard

T = TypeVar("T")
MAX_ANSWER_BYTES = 4 << 20
_TOTAL_S, _CONNECT_S = 30.0, 5.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whatever the status says. `authorized`: whether a token was sent."""

    status: int
    body: bytes
    content_type: str = ""
    authorized: bool = False
    location: str = ""


class Control:
    """Construction does no IO; token and headers are read from where the roster says at each call.

    `guard`: for a provider that somebody else named. It is dialled directly then: behind a proxy the address that is
    reached could not be checked.
    """

    def __init__(
        self, provider: Provider, *, env: Mapping[str, str] | None = None, guard: NetGuard | None = None
    ) -> None:
        self.provider, self._guard = provider, guard or NetGuard(guarded=False)
        self._env: Mapping[str, str] = os.environ if env is None else env

    def call(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
        timeout_s: float = _TOTAL_S,
        cut: str = "",
    ) -> Reply:
        """One request below the provider's URL. No redirect is followed: a token is not sent elsewhere.

        `cut`: where the content type holds this, what goes beyond `max_bytes` is not read, and no error.

        Raises `UnreachableError`, `ForbiddenAddressError`, `SlowError`, `OversizeError`; `ConfigError` for a token or
        CA file that cannot be read. A refusal is an answer: see `refusal`.
        """
        sent = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            **self.provider.headers(self._env),
            **(headers or {}),
        }
        url, name = self.provider.url.rstrip("/") + target, self.provider.name
        try:
            proxy, only = (None, _Checked(self._guard, url)) if self._guard.guarded else (_proxy(url), None)
            status, kind, location, answer = _run(
                _request(method, url, sent, body, self._context(), proxy, only, max_bytes, timeout_s, cut)
            )
        except TimeoutError as error:
            raise SlowError(f"{name} did not answer in time") from error
        except PeerError:
            raise
        except aiohttp.ClientResponseError as error:  # of a proxy: its text holds the proxy's URL, and that a password
            raise UnreachableError(f"{name} cannot be reached: {error.status} on the way, from a proxy") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnreachableError(f"{name} cannot be reached: {error or type(error).__name__}") from error
        return Reply(status, answer, kind, "Authorization" in sent, location)

    def _context(self) -> ssl.SSLContext | None:
        if urlsplit(self.provider.url).scheme != "https":
            return None
        try:
            return ssl.create_default_context(cafile=self.provider.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"ca_file {self.provider.ca_file}: {error}", hint="give a PEM file") from error


def refusal(name: str, reply: Reply, reason: str, what: str) -> ConfigError | PeerError:
    """The error of an answer that is no success. `reason`: the provider's own words, if any; `what`: was asked for."""
    status, said = reply.status, f" ({reason})" if reason else ""
    if status in (401, 403):
        which = "refuses the token" if reply.authorized else "wants a token"
        return ConfigError(f"{name} {which}{said}", hint="set token_env or token_file of this provider in the roster")
    if status == 404:
        return MissingError(f"{name} does not know {what}{said}")
    if 300 <= status < 400:
        return UnreachableError(f"{name} redirects ({status}); a token is not sent elsewhere")
    if status == 429 or status >= 500:
        return UnreachableError(f"{name} answers {status}{said}")
    return WithheldError(f"{name} refuses the request: {status}{said}")


class _Checked(AbstractResolver):
    """The addresses of one host that a guard lets pass: looked up once, and no others are dialled."""

    def __init__(self, guard: NetGuard, url: str) -> None:
        parts = urlsplit(url)
        self._host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        self._found = guard.resolve(self._host, port)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See `aiohttp.abc.AbstractResolver`. Not asked for a literal address, which was checked before."""
        return [
            ResolveResult(
                hostname=self._host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST
            )
            for kind, (address, _) in self._found
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def _request(
    method: str, url: str, headers: Mapping[str, str], data: bytes | None, tls: ssl.SSLContext | None,
    proxy: str | None, only: AbstractResolver | None, max_bytes: int, timeout_s: float, cut: str,
) -> tuple[int, str, str, bytes]:  # fmt: skip
    timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(_CONNECT_S, timeout_s))
    connector = None if only is None else aiohttp.TCPConnector(resolver=only)
    async with (
        aiohttp.ClientSession(timeout=timeout, auto_decompress=False, connector=connector) as session,
        session.request(
            method, url, headers=headers, data=data, ssl=tls or True, proxy=proxy, allow_redirects=False
        ) as answer,
    ):
        encoding, kind = answer.headers.get("Content-Encoding", "identity"), answer.headers.get("Content-Type", "")
        if encoding != "identity":
            raise WrongBytesError(f"the answer is encoded ({printable(encoding, 20)}), although identity was asked for")
        body = bytearray()
        async for part in answer.content.iter_any():
            body += part
            if len(body) > max_bytes:
                if cut and cut in kind:
                    break
                raise OversizeError(f"the answer is longer than {max_bytes} bytes")
        return answer.status, kind, answer.headers.get("Location", ""), bytes(body[:max_bytes])


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

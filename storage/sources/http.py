"""A bounded HTTP/1.1 client for bulk bytes: blocking sockets, `readinto`, keep-alive, several threads.

Measured (facts: HTTP clients on the data path): 1.7 times the rate of an event-loop client at two thirds of its
CPU. Every answer has a length limit, every wait a timeout; the overall deadline and the minimum rate are watched
from outside, through `Transfer`. Third-party exceptions end here: what leaves is a `PeerError`.
"""

from __future__ import annotations

import http.client
import re
import ssl
import threading
import urllib.request
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit

from ..errors import (
    ConfigError,
    MissingError,
    PeerError,
    TruncatedError,
    UnreachableError,
    WithheldError,
    WrongBytesError,
)
from ..limits import TransferLimits
from .answer import Answer
from .dial import Dial, TlsConnection
from .netguard import NetGuard
from .retry_after import retry_after_s
from .transfer import Transfer

_MAX_REDIRECT_ORIGINS = 16
_MAX_IDLE = 8
_REDIRECTS = (301, 302, 303, 307, 308)
USER_AGENT = "holdfast/0.1"
_LATER = "try again later"
_NO_CONNECTION = "check the host, the port and the network, and that the server runs"
_NO_TLS = "does this port speak https? If not, and you trust the network, name it with http://"
_NO_TRUST = "check the name of the host and its certificate; if it has a CA of its own, give ca_file in a roster"
_REFUSED = "if it wants a secret, name that in a roster by token_env or headers_env"
_REDIRECTED = "name the address at which the redirects end"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How to talk to one origin. `headers` may hold secrets: they are never printed and never follow a redirect."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: Path | None = None
    guard: NetGuard = field(default_factory=lambda: NetGuard(guarded=False))
    redirect_guard: NetGuard = field(default_factory=NetGuard)
    limits: TransferLimits = field(default_factory=TransferLimits)

    def __post_init__(self) -> None:
        # Nothing of an address with an @ in it is ever shown: it may be a password.
        if "@" in re.split(r"[/?#\\]", self.url.split("://", 1)[-1], maxsplit=1)[0]:
            raise ConfigError(
                "an address holds a user name or a password, which would be shown in reports",
                hint="leave it out, and name the secret in a roster by token_env or headers_env",
            )
        shown = "an address" if "@" in self.url else repr(self.url)
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError:
            parts = None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"{shown} is not http(s)://host or http(s)://host:port",
                hint="give http://host:port or https://host; a port is between 1 and 65535",
            )


class HttpClient:
    """Requests to one origin and those that it redirects to. Safe from any thread; not across a fork.

    A proxy of the environment is used for addresses that the user named. Redirects are dialled directly: behind a
    proxy the address that is reached could not be checked.
    """

    def __init__(self, endpoint: Endpoint, onward: _Onward | None = None) -> None:
        self.endpoint = endpoint
        self._parts = urlsplit(endpoint.url)
        self._idle: list[http.client.HTTPConnection] = []
        self._onward = onward or _Onward(endpoint)
        self._owned = onward is None
        self._keeps = True  # connections, after a request
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None

    def close(self) -> None:
        """Close idle connections. Requests in flight close their own."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        if self._owned:
            self._onward.close()

    def retire(self) -> None:
        """Close idle connections and keep none any more. Requests in flight end as they would have."""
        with self._lock:
            self._keeps = False
        self.close()

    @contextmanager
    def get(self, path: str, transfer: Transfer, headers: Mapping[str, str] | None = None) -> Iterator[Answer]:
        """GET `path` below the endpoint's URL. Yields an answer with status 200 or 206.

        Raises `MissingError` (404), `WithheldError` (401, 403, 410, 451), `UnreachableError` (everything else that
        is not an answer), `SlowError` when a timeout passes.
        """
        target = self._parts.path.rstrip("/") + path
        with self._get(target, transfer, dict(headers or {}), self.endpoint.limits.max_redirects) as answer:
            yield answer

    @contextmanager
    def _get(self, target: str, transfer: Transfer, headers: dict[str, str], redirects: int) -> Iterator[Answer]:
        connection, response = self._send(target, transfer, headers)
        reusable = False
        try:
            if response.status in _REDIRECTS:
                client, onward = self._follow(target, response, redirects)
                connection.close()
                with client._get(onward, transfer, headers, redirects - 1) as answer:
                    yield answer
                return
            if response.status not in (200, 206):
                body = _drain(response)
                reusable = body and not response.will_close
                raise _status_error(response)
            answer = Answer(response, transfer, _length(response), connection.sock)
            with _peer_errors(transfer, answered=True):
                yield answer
            reusable = answer.drained
        finally:
            transfer.detach()  # a late `cancel` must not hit the next user of this connection
            with suppress(OSError):
                response.close()
            with self._lock:
                reusable = reusable and self._keeps and not transfer.cancelled and len(self._idle) < _MAX_IDLE
                if reusable:
                    self._idle.append(connection)
            if not reusable:
                connection.close()

    def _send(
        self, target: str, transfer: Transfer, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **self.endpoint.headers, **headers}
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            kept = connection is not None
            connection = connection or self._connection(transfer)
            try:
                with _peer_errors(transfer, answered=False):
                    if connection.sock is None:
                        connection.connect()
                    transfer.attach(connection.sock)
                    connection.sock.settimeout(self.endpoint.limits.first_byte_s)
                    connection.request("GET", self._absolute(target), headers=sent)
                    return connection, connection.getresponse()
            except _StaleConnectionError as error:
                transfer.detach()
                connection.close()
                if not kept:
                    raise UnreachableError(f"the server closed the connection: {error}", hint=_LATER) from error
            except BaseException:
                transfer.detach()
                connection.close()
                raise

    def _absolute(self, target: str) -> str:
        proxied = self._parts.scheme == "http" and self._proxy is not None
        return f"http://{self._parts.netloc}{target}" if proxied else target

    @cached_property
    def _proxy(self) -> SplitResult | None:  # looked up once: it goes through all of the environment, 0.1 ms a request
        host = self._parts.hostname or ""
        if self.endpoint.guard.guarded or urllib.request.proxy_bypass(host):
            return None  # a guarded address is dialled directly: a proxy would resolve it again
        address = urllib.request.getproxies().get(self._parts.scheme)
        return urlsplit(address if "//" in address else f"http://{address}") if address else None

    def _connection(self, transfer: Transfer) -> http.client.HTTPConnection:
        secure = self._parts.scheme == "https"
        host, port = self._parts.hostname or "", self._parts.port or (443 if secure else 80)
        proxy, wait_s = self._proxy, self.endpoint.limits.connect_s
        connection: http.client.HTTPConnection
        if secure:
            connection = TlsConnection(host, port, timeout=wait_s, context=self._context(), transfer=transfer)
            if proxy:
                connection.set_tunnel(host, port)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=wait_s)
        through = (proxy.hostname or "", proxy.port or 8080) if proxy else None
        connection._create_connection = Dial(self.endpoint.guard, transfer, through)  # type: ignore[attr-defined]
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            try:
                self._tls = ssl.create_default_context(cafile=self.endpoint.ca_file)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f"ca_file {self.endpoint.ca_file}: {error}", hint="give a PEM file") from error
        return self._tls

    def _follow(self, target: str, response: http.client.HTTPResponse, left: int) -> tuple[HttpClient, str]:
        location = response.headers.get("Location", "")
        here = f"{self._parts.scheme}://{self._parts.netloc}"
        if left <= 0:
            raise UnreachableError("too many redirects", hint=_REDIRECTED)
        try:
            parts = urlsplit(urljoin(here + target, location))
            _ = parts.port
        except ValueError as error:
            raise UnreachableError("redirected to what is no address") from error
        if "@" in parts.netloc:
            raise UnreachableError("redirected to an address with a user name or a password in it")
        netloc = parts.netloc
        sound = netloc.isascii() and netloc.isprintable() and " " not in netloc and "\\" not in netloc
        if parts.scheme not in ("http", "https") or not parts.hostname or not sound:
            what = "something else" if "@" in location else repr(location[:80])
            raise UnreachableError(f"redirected to {what}, which is no http address")
        if self._parts.scheme == "https" and parts.scheme == "http":
            raise UnreachableError("redirected from https to http", hint=_REDIRECTED)
        onward = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if (parts.scheme, netloc) == (self._parts.scheme, self._parts.netloc):
            return self, onward
        try:
            return self._onward.client(f"{parts.scheme}://{netloc}"), onward
        except ConfigError as error:
            raise UnreachableError("redirected to what is no address") from error


class _Onward:
    """The clients for origins that somebody redirected to, the last 16: there may be any number of them (a CDN)."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._clients: OrderedDict[str, HttpClient] = OrderedDict()
        self._lock = threading.Lock()

    def client(self, url: str) -> HttpClient:
        """A client for this origin, without the headers, which may hold secrets. Raises `ConfigError`."""
        evicted = None
        with self._lock:
            if url not in self._clients:
                guard = self._endpoint.redirect_guard
                ca_file, limits = self._endpoint.ca_file, self._endpoint.limits
                endpoint = Endpoint(url, ca_file=ca_file, guard=guard, redirect_guard=guard, limits=limits)
                self._clients[url] = HttpClient(endpoint, self)
                if len(self._clients) > _MAX_REDIRECT_ORIGINS:
                    _, evicted = self._clients.popitem(last=False)
            self._clients.move_to_end(url)
            found = self._clients[url]
        if evicted is not None:
            evicted.retire()
        return found

    def close(self) -> None:
        """Close idle connections of all of them."""
        with self._lock:
            clients = list(self._clients.values())
        for client in clients:
            client.close()


class _StaleConnectionError(Exception):
    """A kept connection was closed by the server before it answered: try a fresh one."""


@contextmanager
def _peer_errors(transfer: Transfer, *, answered: bool) -> Iterator[None]:
    """Everything that sockets, TLS and http.client raise, as a `PeerError`; the reason of a cancellation first."""
    try:
        yield
    except PeerError:
        raise
    except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
        transfer.check()
        if not answered:
            raise _StaleConnectionError(str(error) or type(error).__name__) from error
        raise TruncatedError(f"the connection was cut: {error}") from error
    except TimeoutError as error:
        transfer.check()
        raise UnreachableError("no answer in time", hint=f"{_NO_CONNECTION}, or {_LATER}") from error
    except http.client.IncompleteRead as error:
        transfer.check()
        raise TruncatedError("the answer ended early") from error
    except ssl.SSLError as error:  # a certificate error is a ValueError too
        transfer.check()
        why, hint = getattr(error, "verify_message", "") or error.reason, _NO_TLS
        if isinstance(error, ssl.SSLCertVerificationError):
            hint = _NO_TRUST
        raise UnreachableError(f"no TLS connection: {why}", hint=hint) from error
    except (http.client.HTTPException, ValueError) as error:
        transfer.check()
        raise WrongBytesError(f"not an HTTP answer: {type(error).__name__}") from error
    except OSError as error:
        transfer.check()
        raise UnreachableError(f"no connection: {error.strerror or error}", hint=_NO_CONNECTION) from error


def _length(response: http.client.HTTPResponse) -> int | None:
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise WrongBytesError(f"the answer is encoded ({encoding[:20]}), although identity was asked for")
    return response.length


def _drain(response: http.client.HTTPResponse) -> bool:
    """Read a short error body, so that the connection can be kept."""
    try:
        return response.length is not None and response.length <= 65536 and response.read() is not None
    except (OSError, http.client.HTTPException):
        return False


def _status_error(response: http.client.HTTPResponse) -> PeerError:
    status = response.status
    if status in (404, 412):  # 412: not here, and it was asked with `only-if-cached`
        return MissingError(str(status))
    if status in (401, 403, 410, 451):
        return WithheldError(f"{status} {response.reason}"[:60], hint=_REFUSED if status in (401, 403) else "")
    hint = _LATER if status == 429 or status >= 500 else "check the address: it does not answer as a source does"
    error = UnreachableError(f"{status} {response.reason}"[:60], hint=hint)
    error.status = status
    error.retry_after_s = retry_after_s(response.headers.get("Retry-After"))
    return error

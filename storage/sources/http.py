"""A bounded HTTP/1.1 client for bulk bytes: blocking sockets, `readinto`, keep-alive, several threads.

Measured (facts: HTTP clients on the data path): 1.7 times the rate of an event-loop client at two thirds of its
CPU. Every answer has a length limit, every wait a timeout; the overall deadline and the minimum rate are watched
from outside, through `Transfer`. Third-party exceptions end here: what leaves is a `PeerError`.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit

from ..errors import (
    ConfigError,
    MissingError,
    OversizeError,
    PeerError,
    TruncatedError,
    UnreachableError,
    WithheldError,
    WrongBytesError,
)
from ..limits import TransferLimits
from .netguard import NetGuard
from .transfer import Transfer

_MAX_REDIRECT_ORIGINS = 16
_MAX_IDLE = 8
_REDIRECTS = (301, 302, 303, 307, 308)
USER_AGENT = "holdfast/0.1"


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
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{self.url!r} is not an address", hint="give http://host:port or https://host")
        try:
            _ = parts.port
        except ValueError as error:
            raise ConfigError(f"{self.url!r}: {error}", hint="a port is between 1 and 65535") from error


class Answer:
    """The body of one answer, read into the caller's memory and never past what was promised."""

    def __init__(self, response: http.client.HTTPResponse, transfer: Transfer, length: int | None) -> None:
        self.status = response.status
        self.headers = response.headers
        self.length = length  # body bytes promised; None: not said (chunked, or until the connection closes)
        self._response = response
        self._transfer = transfer
        self.left = length

    def readinto(self, view: memoryview) -> None:
        """Fill `view` exactly. Raises `TruncatedError` when the body ends before."""
        filled = 0
        while filled < len(view):
            count = self._read_some(view[filled:])
            if not count:
                self._transfer.check()
                raise TruncatedError(f"the answer ended {len(view) - filled} bytes early")
            filled += count

    def read(self, limit: int) -> bytes:
        """The whole body, at most `limit` bytes. Raises `OversizeError` beyond."""
        if self.length is not None and self.length > limit:
            raise OversizeError(f"the answer has {self.length} bytes, expected at most {limit}")
        out = bytearray()
        buffer = memoryview(bytearray(65536))
        while count := self._read_some(buffer):
            out += buffer[:count]
            if len(out) > limit:
                raise OversizeError(f"the answer is longer than {limit} bytes")
        self._transfer.check()
        if self.left:
            raise TruncatedError(f"the answer ended {self.left} bytes early")
        return bytes(out)

    def skip(self, count: int) -> None:
        """Read and drop."""
        buffer = memoryview(bytearray(min(count, 1 << 18)))
        while count > 0:
            part = buffer[: min(count, len(buffer))]
            self.readinto(part)
            count -= len(part)

    def _read_some(self, view: memoryview) -> int:
        if self.left is None:
            count = self._response.readinto(view[:65536])
        else:
            if not self.left or self._response.fp is None:
                return 0
            count = self._response.fp.readinto1(view[: self.left])
            self.left -= count
        if self._transfer.first_byte_at is None:
            self._transfer.first_byte_at = time.monotonic()
        self._transfer.received += count
        return count

    @property
    def drained(self) -> bool:
        """Whether the connection can carry another request."""
        return self.left == 0 and not self._response.will_close


class HttpClient:
    """Requests to one origin and those that it redirects to. Safe from any thread; not across a fork."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._parts = urlsplit(endpoint.url)
        self._idle: list[http.client.HTTPConnection] = []
        self._redirected: dict[tuple[str, str], HttpClient] = {}
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None

    def close(self) -> None:
        """Close idle connections. Requests in flight close their own."""
        with self._lock:
            idle, self._idle = self._idle, []
            others = list(self._redirected.values())
        for connection in idle:
            connection.close()
        for other in others:
            other.close()

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
            answer = Answer(response, transfer, _length(response))
            with _peer_errors(transfer, answered=True):
                yield answer
            reusable = answer.drained
        finally:
            with suppress(OSError):
                response.close()
            with self._lock:
                reusable = reusable and not transfer.cancelled and len(self._idle) < _MAX_IDLE
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
            connection = connection or self._connection()
            try:
                with _peer_errors(transfer, answered=False):
                    if connection.sock is None:
                        connection.connect()
                    transfer.attach(connection.sock)
                    connection.sock.settimeout(self.endpoint.limits.first_byte_s)
                    connection.request("GET", self._absolute(target), headers=sent)
                    return connection, connection.getresponse()
            except _StaleConnectionError as error:
                connection.close()
                if not kept:
                    raise UnreachableError(f"the server closed the connection: {error}") from error
            except BaseException:
                connection.close()
                raise

    def _absolute(self, target: str) -> str:
        proxied = self._parts.scheme == "http" and self._proxy() is not None
        return f"http://{self._parts.netloc}{target}" if proxied else target

    def _proxy(self) -> SplitResult | None:
        host = self._parts.hostname or ""
        if self.endpoint.guard.guarded or urllib.request.proxy_bypass(host):
            return None  # a guarded address is dialled directly: a proxy would resolve it again
        address = urllib.request.getproxies().get(self._parts.scheme)
        return urlsplit(address if "//" in address else f"http://{address}") if address else None

    def _connection(self) -> http.client.HTTPConnection:
        secure = self._parts.scheme == "https"
        host, port = self._parts.hostname or "", self._parts.port or (443 if secure else 80)
        proxy = self._proxy()
        dial = _Dial(self.endpoint, proxy.hostname or "", proxy.port or 8080) if proxy else _Dial(self.endpoint)
        limits = self.endpoint.limits
        connection: http.client.HTTPConnection
        if secure:
            connection = http.client.HTTPSConnection(host, port, timeout=limits.connect_s, context=self._context())
            if proxy:
                connection.set_tunnel(host, port)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=limits.connect_s)
        connection._create_connection = dial  # type: ignore[attr-defined]
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
        parts = urlsplit(urljoin(here + target, location))
        if left <= 0:
            raise UnreachableError("too many redirects")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UnreachableError(f"redirected to {location[:80]!r}, which is no http address")
        if self._parts.scheme == "https" and parts.scheme == "http":
            raise UnreachableError("redirected from https to http")
        onward = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if (parts.scheme, parts.netloc) == (self._parts.scheme, self._parts.netloc):
            return self, onward
        with self._lock:
            key = (parts.scheme, parts.netloc)
            if key not in self._redirected and len(self._redirected) >= _MAX_REDIRECT_ORIGINS:
                raise UnreachableError("redirected to too many different hosts")
            if key not in self._redirected:
                guard = self.endpoint.redirect_guard
                self._redirected[key] = HttpClient(
                    Endpoint(
                        f"{parts.scheme}://{parts.netloc}",
                        ca_file=self.endpoint.ca_file,
                        guard=guard,
                        redirect_guard=guard,
                        limits=self.endpoint.limits,
                    )
                )
            return self._redirected[key], onward


class _Dial:
    """`socket.create_connection`, but to a checked address, or to a proxy."""

    def __init__(self, endpoint: Endpoint, proxy_host: str = "", proxy_port: int = 0) -> None:
        self._endpoint, self._proxy = endpoint, (proxy_host, proxy_port)

    def __call__(self, address: tuple[str, int], timeout: float, *_: object) -> socket.socket:
        host, port = self._proxy if self._proxy[0] else address
        error: OSError | None = None
        for family, where in self._endpoint.guard.resolve(host, port):
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(timeout)
                sock.connect(where)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as failure:
                sock.close()
                error = failure
            else:
                return sock
        raise error or OSError(f"{host} has no address")


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
        raise UnreachableError("no answer in time") from error
    except http.client.IncompleteRead as error:
        transfer.check()
        raise TruncatedError("the answer ended early") from error
    except ssl.SSLError as error:  # a certificate error is a ValueError too
        transfer.check()
        raise UnreachableError(f"no TLS connection: {getattr(error, 'verify_message', '') or error.reason}") from error
    except (http.client.HTTPException, ValueError) as error:
        transfer.check()
        raise WrongBytesError(f"not an HTTP answer: {type(error).__name__}") from error
    except OSError as error:
        transfer.check()
        raise UnreachableError(f"no connection: {error.strerror or error}") from error


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
    if status == 404:
        return MissingError("404")
    if status in (401, 403, 410, 451):
        return WithheldError(f"{status} {response.reason}"[:60])
    error = UnreachableError(f"{status} {response.reason}"[:60])
    with suppress(ValueError):
        error.retry_after_s = min(float(response.headers.get("Retry-After", "")), 60.0)
    return error

"""`KuboRpc`: the calls to Kubo that must not lose an error: streams of JSON objects, and CARs that are sent.

Documented by Kubo (docs.ipfs.tech/reference/kubo/rpc). All is POST. What goes wrong after the status line comes in the
trailer `X-Stream-Error`, or in an object with status 200: most clients see success (facts: §3). `http.client` it is,
for aiohttp's client drops trailers.

Bounded against whatever answers: each wait, each call as a whole, each object, and how many of them.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode, urlsplit

from ...configs.roster import Provider
from ..cid import CID
from ..control import Reply, refusal
from ..errors import (
    ConfigError,
    HoldfastError,
    IncompleteError,
    OversizeError,
    PeerError,
    QuotaError,
    SlowError,
    TruncatedError,
    UnreachableError,
    WrongBytesError,
)
from ..printable import printable

CONNECT_S = 5.0
_GATHER_BYTES = 1 << 16
_MAX_LINE_BYTES = 64 << 10  # one object: a CID, an error
_MAX_ERROR_BYTES = 64 << 10
_MAX_NAME_BYTES = 255
_STREAM_ERROR = "x-stream-error"
_MIN_RATE_BYTES_S, _GRACE_S = 64 << 10, 60.0  # of a CAR that is sent


Query = dict[str, str | list[str]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one call: seconds without a word, seconds from the end of the request to that of the answer, objects."""

    idle_s: float
    answer_s: float
    objects: int


LIST = Bounds(30.0, 300.0, 1_000_000)
CALL = Bounds(30.0, 60.0, 100)
IMPORT = Bounds(120.0, 900.0, 1_000)  # to take what was sent down to its disk
PIN = Bounds(60.0, 6 * 3600.0, 100_000)  # Kubo says how far it is twice a second; what it lacks it looks for


class KuboRpc:
    """Construction does no IO. Calls may come from any thread; each has a connection of its own."""

    def __init__(self, provider: Provider, *, env: Mapping[str, str] | None = None) -> None:
        self.provider = provider
        self.env: Mapping[str, str] = os.environ if env is None else env

    def import_car(self, parts: Iterable[bytes]) -> int:
        """Send a CAR (`dag/import`); returns how many blocks it took. Nothing is pinned, and nothing announced.

        Kubo would pin the roots, too, but hangs for good where a block is missing (facts: §6, kubo#10159), and gives
        no name: `pin` does both. Raises what `parts` raises, and as `objects` does; `TruncatedError` when Kubo says
        nothing of the end.
        """
        query: Query = {"pin-roots": "false", "stats": "true", "fast-provide-root": "false"}
        boundary = secrets.token_hex(16)
        kind = f"multipart/form-data; boundary={boundary}"
        body = _paced(_multipart(parts, boundary), self.provider.name)
        blocks: int | None = None
        for found in self.objects("dag/import", query, IMPORT, body, content_type=kind):
            if isinstance(stats := found.get("Stats"), dict):
                blocks = self._count(stats, "BlockCount")
        if blocks is None:
            raise TruncatedError(f"{self.provider.name}: the answer to dag/import ended early")
        return blocks

    def pin(self, cids: Sequence[CID], name: str, *, stall_s: float, announce: bool = True) -> Iterator[int]:
        """Have DAGs pinned under a name; yields how many blocks Kubo has come to, again and again.

        `stall_s`: how long without one more: then a block is missing, and nobody whom Kubo knows has it. Ends only
        when Kubo confirms all pins; else raises as `objects` does, and those before the one that failed are pinned.
        `announce`: the roots, once they are pinned, if Kubo is set up so.
        """
        query: Query = {"arg": [str(cid) for cid in cids], "recursive": "true", "progress": "true"}
        if not announce:
            query["fast-provide-root"] = "false"
        what = cids[0].short() + (f" and {len(cids) - 1} more" if len(cids) > 1 else "")
        if name:
            query["name"] = name.encode()[:_MAX_NAME_BYTES].decode("utf-8", "ignore")
        seen, moved_at, pinned = 0, time.monotonic(), 0
        for found in self.objects("pin/add", query, PIN):
            if pins := found.get("Pins"):
                pinned = len(pins) if isinstance(pins, list) else 0
            elif (blocks := self._count(found, "Progress")) > seen:
                seen, moved_at = blocks, time.monotonic()
            elif time.monotonic() - moved_at > stall_s:
                raise IncompleteError(f"{self.provider.name} came to {seen} blocks of {what}, and no further")
            yield seen
        if pinned != len(cids):
            raise TruncatedError(f"{self.provider.name} did not confirm the pin of {what}")

    def holds(self, cid: CID) -> bool:
        """Whether this block is in its repository (`block/stat`, offline). Raises as `objects` does."""
        try:
            return any(
                "Key" in found for found in self.objects("block/stat", {"arg": str(cid), "offline": "true"}, CALL)
            )
        except IncompleteError:
            return False

    def announce(self, cids: Sequence[CID]) -> int:
        """Have it tell its network that it has these, once (`provide/once`); returns how many it took down.

        Raises as `objects` does; `PeerError` where Kubo announces nothing, or knows nobody.
        """
        bounds = replace(CALL, objects=len(cids) + 10, answer_s=300.0)
        return sum("Queued" in found for found in self.objects("provide/once", {"arg": [*map(str, cids)]}, bounds))

    def objects(
        self,
        command: str,
        query: Query,
        bounds: Bounds,
        body: Iterable[bytes] | None = None,
        *,
        content_type: str = "",
    ) -> Iterator[dict[str, Any]]:
        """Every JSON object of the answer, as it comes; then its trailer.

        Raises `ConfigError` (a token that is refused, a wrong address), `QuotaError` (no space there), `SlowError`,
        `OversizeError` (beyond `bounds`), `UnreachableError`, `TruncatedError`, `WrongBytesError`.
        """
        name = self.provider.name
        headers = {"Accept-Encoding": "identity", **self.provider.headers(self.env)}
        if content_type:
            headers["Content-Type"] = content_type
        parts = urlsplit(self.provider.url)
        target = f"{parts.path.rstrip('/')}/api/v0/{command}?{urlencode(query, doseq=True)}"
        connection = self._connection(bounds.idle_s)
        cut = _Cut(connection, bounds.answer_s)
        try:
            answer = _send(connection, target, body, headers, cut)
            if answer.status != 200:
                raise self._refused(answer, authorized="Authorization" in headers)
            yield from self._lines(answer, bounds.objects)
        except TruncatedError as error:
            raise _blamed(name, error, bounds, late=cut.done.is_set()) from error
        except HoldfastError:
            raise
        except Exception as error:
            raise _blamed(name, error, bounds, late=cut.done.is_set()) from error
        finally:
            cut.stop()
            connection.close()

    def _connection(self, idle_s: float) -> http.client.HTTPConnection:
        parts = urlsplit(self.provider.url)
        host = parts.hostname or ""
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            try:
                context = ssl.create_default_context(cafile=self.provider.ca_file)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f"ca_file {self.provider.ca_file}: {error}", hint="give a PEM file") from error
            connection = http.client.HTTPSConnection(host, parts.port or 443, timeout=CONNECT_S, context=context)
        else:
            connection = http.client.HTTPConnection(host, parts.port or 80, timeout=CONNECT_S)
        connection.response_class = _WithTrailers
        try:
            connection.connect()
        except TimeoutError as error:
            raise SlowError(f"{self.provider.name} did not answer in time") from error
        except OSError as error:
            raise UnreachableError(f"{self.provider.name} cannot be reached: {error.strerror or error}") from error
        connection.sock.settimeout(idle_s)
        return connection

    def _lines(self, answer: http.client.HTTPResponse, objects: int) -> Iterator[dict[str, Any]]:
        name, lines = self.provider.name, 0
        while line := answer.readline(_MAX_LINE_BYTES + 1):
            lines += 1
            if len(line) > _MAX_LINE_BYTES or lines > objects:
                raise OversizeError(f"{name}: an answer beyond {objects} objects of {_MAX_LINE_BYTES} bytes")
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise WrongBytesError(f"{name}: the answer is not a row of JSON objects") from error
            if not isinstance(found, dict):
                raise WrongBytesError(f"{name}: the answer is not a row of JSON objects")
            if found.get("Type") == "error":
                raise failure(name, str(found.get("Message") or ""))
            yield found
        assert isinstance(answer, _WithTrailers)
        if answer.length or (answer.chunked and not answer.whole):  # readline ends in silence where it is cut
            raise TruncatedError(f"{name}: the answer ended early")
        if said := answer.trailers.get(_STREAM_ERROR):
            raise failure(name, said)

    def _count(self, found: Mapping[str, Any], key: str) -> int:
        value = found.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
            raise WrongBytesError(f"{self.provider.name}: {key} is no count")
        return value

    def _refused(self, answer: http.client.HTTPResponse, *, authorized: bool) -> HoldfastError:
        body = answer.read(_MAX_ERROR_BYTES)
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        said = str(found.get("Message") or "") if isinstance(found, dict) else ""
        name = self.provider.name
        if answer.status == 500 and said:
            return failure(name, said)
        said = printable(said)
        if answer.status in (404, 405):
            return ConfigError(
                f"{name} is not the RPC interface of a Kubo ({answer.status})",
                hint="give its API address, such as http://127.0.0.1:5001, not the gateway's",
            )
        return refusal(name, Reply(answer.status, body, authorized=authorized), said, "this command")


def failure(name: str, said: str) -> QuotaError | PeerError:
    """What Kubo's own words mean. What matters may stand behind a long path: all of them are looked through."""
    shown = printable(said)
    if "could not find" in said or "not found locally" in said:
        return IncompleteError(f"{name}: {shown}")
    if "no space left" in said or "disk quota" in said:
        return QuotaError(f"{name} has no room: {shown}", hint="free space there, or name another provider")
    return PeerError(f"{name}: {shown}")


class _Cut:
    """Ends a call that takes too long: the socket is shut down under whoever waits for it."""

    def __init__(self, connection: http.client.HTTPConnection, seconds: float) -> None:
        self.done = threading.Event()
        self._connection, self._seconds = connection, seconds
        self._timer: threading.Timer | None = None

    def start(self) -> None:
        """From now on: the request is sent."""
        self._timer = threading.Timer(self._seconds, self._shut)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        """The call is over."""
        if self._timer is not None:
            self._timer.cancel()

    def _shut(self) -> None:
        self.done.set()
        sock = self._connection.sock
        if sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _WithTrailers(http.client.HTTPResponse):
    """Keeps what comes behind the last chunk; the standard class reads and drops it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.trailers: dict[str, str] = {}
        self.whole = False  # whether the last chunk and its trailers came

    def _read_and_discard_trailer(self) -> None:
        for _ in range(100):
            line = self.fp.readline(_MAX_LINE_BYTES + 1)
            if line in (b"\r\n", b"\n", b""):
                self.whole = bool(line)
                return
            name, _, value = line.decode("utf-8", "replace").partition(":")
            self.trailers[name.strip().lower()] = value.strip()
        raise http.client.HTTPException("more than 100 trailers")


def _send(
    connection: http.client.HTTPConnection, target: str, body: Iterable[bytes] | None, headers: Mapping[str, str],
    cut: _Cut,
) -> http.client.HTTPResponse:  # fmt: skip
    """Send the request. A server that answers before it has read all (it is full, say) is listened to."""
    try:
        if body is None:
            connection.request("POST", target, b"", dict(headers))
        else:
            framed = {**headers, "Transfer-Encoding": "chunked"}
            connection.request("POST", target, _chunked(_gathered(body)), framed, encode_chunked=False)
    except (BrokenPipeError, ConnectionResetError) as error:
        cut.start()
        try:
            return connection.getresponse()
        except (http.client.HTTPException, OSError):
            raise error from None
    cut.start()
    return connection.getresponse()


def _gathered(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, small parts as one: each part is a system call or two. Blocks of 1 MiB are not copied."""
    held: list[bytes] = []
    size = 0
    for part in parts:
        if len(part) < _GATHER_BYTES:
            held.append(part)
            size += len(part)
        if held and (size >= _GATHER_BYTES or len(part) >= _GATHER_BYTES):
            yield b"".join(held)
            held, size = [], 0
        if len(part) >= _GATHER_BYTES:
            yield part
    yield b"".join(held)


def _chunked(parts: Iterable[bytes]) -> Iterator[bytes]:
    """RFC 9112 §7.1. http.client would copy each part into its frame: 0.15 s a GB."""
    end = b""
    for part in parts:
        if part:
            yield b"%s%X\r\n" % (end, len(part))
            yield part
            end = b"\r\n"
    yield end + b"0\r\n\r\n"


def _paced(parts: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The same, as long as the other side takes them at a rate that ends some day."""
    started, sent = time.monotonic(), 0
    for part in parts:
        yield part
        sent += len(part)
        seconds = time.monotonic() - started
        if seconds > _GRACE_S and sent < seconds * _MIN_RATE_BYTES_S:
            raise SlowError(f"{name} takes less than {_MIN_RATE_BYTES_S >> 10} KiB a second")


def _multipart(parts: Iterable[bytes], boundary: str) -> Iterator[bytes]:
    yield (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="dataset.car"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    yield from parts
    yield f"\r\n--{boundary}--\r\n".encode()


def _blamed(name: str, error: Exception, bounds: Bounds, *, late: bool) -> Exception:
    """What sockets, TLS and http.client raised, as ours; a bug stays what it is."""
    if late:
        return SlowError(f"{name} was not done {bounds.answer_s:g} s after the request")
    if isinstance(error, TimeoutError):
        return SlowError(f"{name} said nothing for {bounds.idle_s:g} s")
    if isinstance(error, http.client.IncompleteRead):
        return TruncatedError(f"{name}: the answer ended early")
    if isinstance(error, http.client.HTTPException | ValueError):
        return WrongBytesError(f"{name} does not speak HTTP as Kubo does: {type(error).__name__}")
    if isinstance(error, OSError):
        return UnreachableError(f"{name} cannot be reached: {error.strerror or error}")
    return error

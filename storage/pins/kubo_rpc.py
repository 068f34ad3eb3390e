"""`KuboRpc`: the calls to Kubo that must not lose an error: streams of JSON objects, and CARs that are sent.

Documented by Kubo (docs.ipfs.tech/reference/kubo/rpc). All is POST. What goes wrong after the status line comes in the
trailer `X-Stream-Error`, and a pin that fails in an object with status 200: most clients see success (facts: §3).
`http.client` it is, for aiohttp's client drops trailers.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlencode, urlsplit

from ...configs.roster import Provider
from ..cid import CID
from ..control import Reply, refusal
from ..errors import (
    ConfigError,
    HoldfastError,
    PeerError,
    QuotaError,
    SlowError,
    TruncatedError,
    UnreachableError,
    WrongBytesError,
)

CONNECT_S = 5.0
_MAX_LINE_BYTES = 64 << 10  # one object: a CID, an error
_MAX_ERROR_BYTES = 64 << 10
_MAX_NAME_BYTES = 255
_STREAM_ERROR = "x-stream-error"


class KuboRpc:
    """Construction does no IO. Calls may come from any thread; each has a connection of its own."""

    def __init__(self, provider: Provider, *, env: Mapping[str, str] | None = None) -> None:
        self.provider = provider
        self.env: Mapping[str, str] = os.environ if env is None else env

    def import_car(self, parts: Iterable[bytes], *, idle_s: float) -> int:
        """Send a CAR (`dag/import`); returns how many blocks it took. Nothing is pinned, and nothing announced.

        Kubo would pin the roots, too, but hangs for good where a block is missing (facts: §6, kubo#10159), and gives
        no name: `pin` does both. `idle_s`: how long it may take to say anything once the CAR has ended. Raises what
        `parts` raises, and as `objects` does; `TruncatedError` when Kubo says nothing of the end.
        """
        query = {"pin-roots": "false", "stats": "true", "fast-provide-root": "false"}
        blocks: int | None = None
        boundary = secrets.token_hex(16)
        body = _multipart(parts, boundary)
        kind = f"multipart/form-data; boundary={boundary}"
        for found in self.objects("dag/import", query, body, content_type=kind, idle_s=idle_s):
            if isinstance(stats := found.get("Stats"), dict):
                blocks = int(stats.get("BlockCount") or 0)
        if blocks is None:
            raise TruncatedError(f"{self.provider.name}: the answer to dag/import ended early")
        return blocks

    def pin(self, cid: CID, name: str, *, idle_s: float) -> Iterator[int]:
        """Have a DAG pinned under a name; yields how many blocks Kubo has come to, again and again.

        `idle_s`: how long without one more: then a block is missing, and nobody whom Kubo knows has it.
        """
        query = {"arg": str(cid), "recursive": "true", "progress": "true"}
        if name:
            query["name"] = name.encode()[:_MAX_NAME_BYTES].decode("utf-8", "ignore")
        seen, moved_at = -1, time.monotonic()
        for found in self.objects("pin/add", query, idle_s=idle_s):
            blocks = int(found.get("Progress") or seen)  # said twice a second, moving or not
            if blocks > seen:
                seen, moved_at = blocks, time.monotonic()
            elif time.monotonic() - moved_at > idle_s:
                raise SlowError(f"{self.provider.name} came to {seen} blocks of {cid.short()}, and no further")
            yield max(seen, 0)

    def objects(
        self,
        command: str,
        query: Mapping[str, str],
        body: Iterable[bytes] | None = None,
        *,
        content_type: str = "",
        idle_s: float,
    ) -> Iterator[dict[str, Any]]:
        """Every JSON object of the answer, as it comes; then its trailer.

        Raises `ConfigError` (a token that is refused, a wrong address), `QuotaError` (no space there), `SlowError`
        (nothing for `idle_s`), `UnreachableError`, `TruncatedError`, `WrongBytesError`.
        """
        name = self.provider.name
        headers = self.provider.headers(self.env)
        if content_type:
            headers["Content-Type"] = content_type
        parts = urlsplit(self.provider.url)
        target = f"{parts.path.rstrip('/')}/api/v0/{command}?{urlencode(query)}"
        with closing(self._connection(idle_s)) as connection:
            try:
                answer = _send(connection, target, body, headers)
                if answer.status != 200:
                    raise self._refused(answer, authorized="Authorization" in headers)
                yield from self._lines(answer)
            except TimeoutError as error:
                raise SlowError(f"{name} said nothing for {idle_s:g} s") from error
            except HoldfastError:
                raise
            except http.client.IncompleteRead as error:
                raise TruncatedError(f"{name}: the answer ended early") from error
            except (http.client.HTTPException, ValueError) as error:
                raise WrongBytesError(f"{name} does not speak HTTP as Kubo does: {type(error).__name__}") from error
            except OSError as error:
                raise UnreachableError(f"{name} cannot be reached: {error.strerror or error}") from error

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

    def _lines(self, answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
        name = self.provider.name
        while line := answer.readline(_MAX_LINE_BYTES + 1):
            if len(line) > _MAX_LINE_BYTES:
                raise WrongBytesError(f"{name}: an object of more than {_MAX_LINE_BYTES} bytes")
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise WrongBytesError(f"{name}: the answer is not a row of JSON objects") from error
            if not isinstance(found, dict):
                raise WrongBytesError(f"{name}: the answer is not a row of JSON objects")
            yield found
        if answer.length or (answer.chunked and not answer.isclosed()):  # readline ends in silence where it is cut
            raise TruncatedError(f"{name}: the answer ended early")
        assert isinstance(answer, _WithTrailers)
        if said := answer.trailers.get(_STREAM_ERROR):
            raise failure(name, said)

    def _refused(self, answer: http.client.HTTPResponse, *, authorized: bool) -> HoldfastError:
        body = answer.read(_MAX_ERROR_BYTES)
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        said = _printable(str(found.get("Message") or "")) if isinstance(found, dict) else ""
        name = self.provider.name
        if answer.status == 500 and said:
            return failure(name, said)
        if answer.status in (404, 405):
            return ConfigError(
                f"{name} is not the RPC interface of a Kubo ({answer.status})",
                hint="give its API address, such as http://127.0.0.1:5001, not the gateway's",
            )
        return refusal(name, Reply(answer.status, body, authorized=authorized), said, "this command")


def failure(name: str, said: str) -> QuotaError | PeerError:
    """What Kubo's own words mean."""
    said = _printable(said)
    if "no space left" in said or "disk quota" in said:
        return QuotaError(f"{name} has no room: {said}", hint="free space there, or name another provider")
    return PeerError(f"{name}: {said}")


class _WithTrailers(http.client.HTTPResponse):
    """Keeps what comes behind the last chunk; the standard class reads and drops it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.trailers: dict[str, str] = {}

    def _read_and_discard_trailer(self) -> None:
        for _ in range(100):
            line = self.fp.readline(_MAX_LINE_BYTES + 1)
            if line in (b"\r\n", b"\n", b""):
                return
            name, _, value = line.decode("utf-8", "replace").partition(":")
            self.trailers[name.strip().lower()] = value.strip()
        raise http.client.HTTPException("more than 100 trailers")


def _send(
    connection: http.client.HTTPConnection, target: str, body: Iterable[bytes] | None, headers: Mapping[str, str]
) -> http.client.HTTPResponse:
    """Send the request. A server that answers before it has read all (it is full, say) is listened to."""
    try:
        if body is None:
            connection.request("POST", target, b"", dict(headers))
        else:
            connection.request("POST", target, body, {**headers, "Transfer-Encoding": "chunked"}, encode_chunked=True)
    except (BrokenPipeError, ConnectionResetError) as error:
        try:
            return connection.getresponse()
        except (http.client.HTTPException, OSError):
            raise error from None
    return connection.getresponse()


def _multipart(parts: Iterable[bytes], boundary: str) -> Iterator[bytes]:
    yield (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="dataset.car"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    yield from parts
    yield f"\r\n--{boundary}--\r\n".encode()


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:300].strip()

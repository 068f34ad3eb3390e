"""A static host that answers like a bucket (ETag, Last-Modified, Range, HEAD), with one object that has a fault.

`holdfast.demo.faults` serves folders, but not what S3 clients want to see; and a fault here is that of the *object*:
the same byte is wrong whichever range is asked for.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

FAULTS = (
    "one byte flipped",
    "connection cut once",
    "connection cut every time",
    "shard truncated",
    "HTML with status 200",
    "503 three times",
    "503 for ever",
    "404",
    "stall in mid-body",
)
_HTML = b"<html><body>502 Bad Gateway</body></html>"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_TIMES = 3


@dataclass
class FaultHost:
    """`fault` befalls the objects whose path ends in `victim`. `aliases`: last segments that mean another path."""

    folder: Path
    victim: str = ""
    fault: str = ""
    aliases: dict[str, str] = field(default_factory=dict)
    url: str = ""
    _asked: int = 0
    _stopped: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def serving(self) -> Iterator[FaultHost]:
        """On a free port of loopback."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"host": self}))
        server.daemon_threads = True
        vars(server)["handle_error"] = lambda *_: None  # clients hang up
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            self._stopped.set()
            server.shutdown()
            server.server_close()
            thread.join()

    def content(self, path: str) -> bytes | None:
        """The object, as it is now; None: there is none."""
        file = self.folder / self.aliases.get(path.rpartition("/")[2], path)
        if ".." in file.parts or not file.is_file():
            return None
        data = file.read_bytes()
        match self.fault_of(path):
            case "one byte flipped":
                middle = len(data) // 2
                return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
            case "shard truncated":
                return data[: len(data) // 2]
            case "HTML with status 200":
                return _HTML
            case "404":
                return None
        return data

    def fault_of(self, path: str) -> str:
        """What befalls a path."""
        return self.fault if self.victim and path.endswith(self.victim) else ""

    def strikes(self, path: str) -> bool:
        """Count a request for the body; whether a fault that ends by itself still lasts."""
        fault = self.fault_of(path)
        self._asked += bool(fault)
        return fault not in ("connection cut once", "503 three times") or self._asked <= (
            1 if fault == "connection cut once" else _TIMES
        )

    def wait(self) -> None:
        """Until the server stops."""
        self._stopped.wait()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    host: FaultHost

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        """As GET, without a body and without counting."""
        self._answer(with_body=False)

    def do_GET(self) -> None:
        """An object, or a range of it."""
        with suppress(OSError):
            self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        data, fault = self.host.content(path), self.host.fault_of(path)
        struck = with_body and self.host.strikes(path)
        if data is None or (fault.startswith("503") and struck):
            self._head(404 if data is None else 503, 0)
            return
        start, end, status = 0, len(data), 200
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        if wanted and fault != "HTML with status 200":
            status = 206
            if wanted[1]:
                start, end = int(wanted[1]), min(end, int(wanted[2]) + 1 if wanted[2] else end)
            else:
                start = max(0, end - int(wanted[2]))
            if start >= len(data):
                self._head(416, 0)
                return
        self._head(status, end - start, f"bytes {start}-{end - 1}/{len(data)}" if status == 206 else "")
        if not with_body:
            return
        broken = struck and (fault.startswith("connection cut") or fault == "stall in mid-body")
        self.wfile.write(data[start : start + (end - start) // 2] if broken else data[start:end])
        if broken:
            self.wfile.flush()
            if fault == "stall in mid-body":
                self.host.wait()
            self.close_connection = True

    def _head(self, status: int, length: int, part: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Sun, 22 Nov 2026 12:00:00 GMT")
        if part:
            self.send_header("Content-Range", part)
        self.end_headers()

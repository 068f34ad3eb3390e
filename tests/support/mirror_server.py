"""A static file server with Range over real sockets, and a script of what it does wrong."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Reply:
    """What is about to be sent; a script may change any of it."""

    status: int
    headers: dict[str, str]
    body: bytes
    drip_s: float = 0.0  # pause after each byte
    pause_s: float = 0.0  # before the head
    cut: int | None = None  # close after so many body bytes
    endless: bool = False


Script = Callable[[str, Reply], Reply | None]


@dataclass
class MirrorServer:
    """Serves `folder`. `script(path, reply)` may return another reply; None keeps it."""

    folder: Path
    script: Script | None = None
    ranges: bool = True
    requests: list[str] = field(default_factory=list)  # paths
    targets: list[str] = field(default_factory=list)  # with queries
    headers_seen: list[dict[str, str]] = field(default_factory=list)
    posted: list[bytes] = field(default_factory=list)  # bodies
    connections: set[object] = field(default_factory=set)  # one item each, however many requests it carried

    def __enter__(self) -> MirrorServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are two writes: 40 ms a request otherwise

            def do_GET(self) -> None:
                outer._answer(self)

            def do_POST(self) -> None:
                outer.posted.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
                outer._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._stop = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(handler.path).path).lstrip("/")
        self.requests.append(path)
        self.targets.append(handler.path)
        self.connections.add(handler.client_address)
        self.headers_seen.append(dict(handler.headers.items()))
        file = self.folder / path
        reply = Reply(404, {}, b"")
        if file.is_file():
            body = file.read_bytes()
            reply = Reply(200, {}, body)
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
            if match and self.ranges:
                start, end = int(match[1]), int(match[2] or len(body) - 1)
                reply = Reply(206, {"Content-Range": f"bytes {start}-{end}/{len(body)}"}, body[start : end + 1])
        if self.script:
            reply = self.script(path, reply) or reply
        self._send(handler, reply)

    def _send(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        try:
            self._stop.wait(reply.pause_s)
            handler.send_response(reply.status)
            for name, value in ({"Content-Length": str(len(reply.body))} | reply.headers).items():
                handler.send_header(name, value)
            handler.end_headers()
            body = reply.body if reply.cut is None else reply.body[: reply.cut]
            if reply.drip_s:
                for byte in body:
                    if self._stop.is_set():
                        break
                    handler.wfile.write(bytes([byte]))
                    handler.wfile.flush()
                    time.sleep(reply.drip_s)
            else:
                handler.wfile.write(body)
            while reply.endless and not self._stop.is_set():
                handler.wfile.write(bytes(65536))
            if reply.cut is not None:
                handler.close_connection = True
        except OSError:
            handler.close_connection = True

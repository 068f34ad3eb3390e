"""What is served when nothing is wrong: a folder of plain files, or another server."""

from __future__ import annotations

import asyncio
import http.client
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from .body import Body, FileRange, part, size

_RANGE = re.compile(r"bytes=(\d{1,19})-(\d{0,19})", re.ASCII)
_OWN = ("connection", "content-length", "transfer-encoding", "date", "server", "keep-alive")


@dataclass(frozen=True, slots=True)
class Request:
    """A request's head. `path` is decoded and has no first slash."""

    method: str
    target: str
    headers: Mapping[str, str]  # names in lower case
    alive: bool = True  # HTTP/1.1, and no `Connection: close`
    received_at: float = field(default_factory=time.monotonic, compare=False)

    @property
    def path(self) -> str:
        """What globs are held against."""
        return unquote(urlsplit(self.target).path).lstrip("/")


@dataclass(frozen=True, slots=True)
class Reply:
    """An honest answer. `headers` are without those of the framing; `neighbour`: other bytes of the same kind."""

    status: int
    body: Body = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    whole: Body = ()  # the file that `body` is a range of
    neighbour: Body = ()


class Origin(Protocol):
    """Where honest answers come from."""

    async def answer(self, request: Request) -> Reply:
        """The honest answer to a request."""
        ...


class Folder:
    """A folder as a static host serves it: whole files and single ranges."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    async def answer(self, request: Request) -> Reply:
        """See `Origin.answer`."""
        path = self._folder / request.path
        if ".." in request.path.split("/") or not path.is_file():
            return Reply(404)
        length = path.stat().st_size
        whole: Body = (FileRange(path, 0, length),)
        other = self._neighbour(path)
        match = _RANGE.fullmatch(request.headers.get("range", ""))
        if not match:
            return Reply(200, whole, {"Accept-Ranges": "bytes"}, whole, other)
        start, end = int(match[1]), min(int(match[2] or length), length - 1) + 1
        if start >= end:
            return Reply(416, (), {"Content-Range": f"bytes */{length}"})
        headers = {"Accept-Ranges": "bytes", "Content-Range": f"bytes {start}-{end - 1}/{length}"}
        return Reply(206, part(whole, start, end), headers, whole, other)

    @staticmethod
    def _neighbour(path: Path) -> Body:
        """The next file of the same folder: for a node, a valid block of another CID."""
        files = sorted(other for other in path.parent.iterdir() if other.is_file())
        other = files[(files.index(path) + 1) % len(files)]
        return (FileRange(other, 0, other.stat().st_size),) if other != path else ()


class Upstream:
    """Another server, asked anew for each request."""

    def __init__(self, url: str) -> None:
        self._netloc = urlsplit(url).netloc

    async def answer(self, request: Request) -> Reply:
        """See `Origin.answer`. 502 when the other server fails."""
        try:
            return await asyncio.to_thread(self._ask, request)
        except (OSError, http.client.HTTPException):
            return Reply(502)

    def _ask(self, request: Request) -> Reply:
        connection = http.client.HTTPConnection(self._netloc, timeout=30)
        try:
            headers = {name: value for name, value in request.headers.items() if name not in ("connection", "host")}
            connection.request(request.method, request.target, headers=headers)
            answer = connection.getresponse()
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _OWN}
            body: Body = (answer.read(),)
            return Reply(answer.status, body if size(body) else (), kept, body)
        finally:
            connection.close()

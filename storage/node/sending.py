"""`Sender`: bodies on their way out, in slices, each with a time limit: a client that reads nothing holds no slot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from aiohttp import web

from ..blocks.disk import OpenFile
from ..errors import FileChangedError
from ..limits import MIB
from .tally import FORMAT, Tally

SLICE_BYTES = MIB


class CutError(ConnectionResetError):
    """The connection was closed in the middle of an answer, by us: nothing more can be said on it."""


def cut(request: web.Request, reason: str) -> NoReturn:
    """Close the connection so that the client sees that the answer is not whole. Raises `CutError`."""
    if request.transport is not None:
        request.transport.abort()
    raise CutError(reason)


class Sender:
    """Sends at `min_rate_bytes_s` or more, measured over slices of a MiB. Counts what was sent."""

    def __init__(self, min_rate_bytes_s: float, tally: Tally) -> None:
        self._slice_s, self._tally = SLICE_BYTES / min_rate_bytes_s, tally

    async def send_bytes(self, request: web.Request, response: web.StreamResponse, data: bytes) -> None:
        """Send one piece of a prepared response. Raises `ConnectionResetError`: the client is gone or too slow."""
        view = memoryview(data)
        for at in range(0, len(view), SLICE_BYTES):
            part = view[at : at + SLICE_BYTES]
            await self.in_time(request, response.write(part))
            self._tally.sent_bytes[FORMAT.get()] += len(part)

    async def send_parts(
        self,
        request: web.Request,
        response: web.StreamResponse,
        first: bytes,
        following: Callable[[], Awaitable[bytes]],
    ) -> None:
        """Send `first`, then what `following` gives until it gives b"": the next is read while the last is sent."""
        part = first
        while part:
            ahead = asyncio.ensure_future(following())
            try:
                await self.send_bytes(request, response, part)
            except BaseException:
                await asyncio.gather(ahead, return_exceptions=True)
                raise
            part = await ahead

    async def send_file(
        self, request: web.Request, response: web.StreamResponse, file: OpenFile, start: int, end: int
    ) -> None:
        """Bytes [start, end) of a file by sendfile: they never pass through this process, and are not hashed.

        So the stamp is looked at again after every slice. Raises `FileChangedError` when it moved: what was sent
        since the last look may be other bytes, and the caller cuts the connection. (The bytes of the last slice are
        out by then; clients of content addresses hash what they get.)
        """
        writer = await response.prepare(request)
        transport, loop = request.transport, asyncio.get_running_loop()
        if writer is None or transport is None:
            raise ConnectionResetError("the client is gone")
        writer.send_headers()
        with open(file.fd, "rb", buffering=0, closefd=False) as source:
            at = start
            while at < end:
                if transport.is_closing():
                    raise ConnectionResetError("the client is gone")
                count = min(SLICE_BYTES, end - at)
                sent = await self.in_time(request, loop.sendfile(transport, source, at, count))
                self._tally.sent_bytes[FORMAT.get()] += sent
                at += sent
                if sent < count or not file.trusted():
                    raise FileChangedError(
                        f"{file.row.path} changed while it was being served",
                        hint=f"restore {file.row.path}, or publish its folder again",
                    )
        await response.write_eof()

    async def in_time(self, request: web.Request, work: Awaitable[int | None]) -> int:
        """Await one slice. Raises `CutError` when it takes too long."""
        try:
            async with asyncio.timeout(self._slice_s):
                return int(await work or 0)
        except TimeoutError:
            self._tally.refused["slow_reader"] += 1
            cut(request, "the client reads too slowly")

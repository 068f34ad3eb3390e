"""Bodies on their way out: in slices, each with a time limit, so that a client that reads nothing holds no slot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from ..blocks.disk import OpenFile
from ..errors import FileChangedError
from ..limits import MIB

SLICE_BYTES = MIB
SLICE_S = 60.0  # for one slice: a client slower than 17 KB/s is dropped


def cut(request: web.Request) -> None:
    """Close the connection so that the client sees that the answer is not whole."""
    if request.transport is not None:
        request.transport.abort()


async def send_bytes(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    """Send one piece of a prepared response. Raises `ConnectionResetError` when the client is gone or too slow."""
    view = memoryview(data)
    for at in range(0, len(view), SLICE_BYTES):
        await _in_time(request, response.write(view[at : at + SLICE_BYTES]))


async def send_parts(
    request: web.Request, response: web.StreamResponse, first: bytes, following: Callable[[], Awaitable[bytes]]
) -> None:
    """Send `first`, then what `following` gives until it gives b"": the next is read while the last is sent."""
    part = first
    while part:
        ahead = asyncio.ensure_future(following())
        try:
            await send_bytes(request, response, part)
        except BaseException:
            await asyncio.gather(ahead, return_exceptions=True)
            raise
        part = await ahead


async def send_file(request: web.Request, response: web.StreamResponse, file: OpenFile, start: int, end: int) -> None:
    """Bytes [start, end) of a file by sendfile: they never pass through this process, and are not hashed.

    So the stamp is looked at again after every slice. Raises `FileChangedError` when it moved: what was sent since
    the last look may be other bytes, and the caller cuts the connection. (The bytes of the last slice are out by
    then; clients of content addresses hash what they get.)
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
            sent = await _in_time(request, loop.sendfile(transport, source, at, count))
            at += sent
            if sent < count or not file.trusted():
                raise FileChangedError(
                    f"{file.row.path} changed while it was being served",
                    hint=f"restore {file.row.path}, or publish its folder again",
                )
    await response.write_eof()


async def _in_time(request: web.Request, work: object) -> int:
    try:
        async with asyncio.timeout(SLICE_S):
            return int(await work or 0)  # type: ignore[misc]
    except TimeoutError as error:
        cut(request)
        raise ConnectionResetError("the client reads too slowly") from error

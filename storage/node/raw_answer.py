"""One block, as it is: a leaf by sendfile from a file that is surely as it was hashed; any other is hashed first."""

from __future__ import annotations

from aiohttp import web

from .byte_range import ByteRange, read_range
from .conditional import has_it, not_modified
from .file_answer import send_from_file
from .headers import download_as, good_headers
from .serving import Serving
from .wanted import RAW_TYPE, Wanted


async def answer_raw(request: web.Request, wanted: Wanted, serving: Serving) -> web.StreamResponse:
    """The block of `wanted.root`, or a range of it."""
    cid, etag = wanted.root, f'"{wanted.root}.raw"'
    headers = good_headers(wanted, (cid,), etag)
    if has_it(request, etag) and await serving.reads.run(serving.store.has, cid):
        return not_modified(headers)
    found = await serving.reads.run(serving.store.open_block, cid)
    if found is not None:
        file, offset, length = found
        try:
            part = _part(request, length, etag)
            response = web.StreamResponse(status=part.status, headers=headers | part.headers() | _named(wanted))
            await send_from_file(request, response, file, offset + part.start, offset + part.end, serving)
            return response
        finally:
            file.close()
    block = await serving.reads.run(serving.store.get, cid)
    part = _part(request, len(block.data), etag)
    response = web.StreamResponse(status=part.status, headers=headers | part.headers() | _named(wanted))
    await response.prepare(request)
    if request.method != "HEAD":
        await serving.sender.send_bytes(request, response, block.data[part.start : part.end])
    return response


def _part(request: web.Request, size: int, etag: str) -> ByteRange:
    return read_range(request.headers.get("Range"), size, etag=etag, if_range=request.headers.get("If-Range"))


def _named(wanted: Wanted) -> dict[str, str]:
    return download_as(wanted.filename or f"{wanted.root}.bin") | {"Content-Type": RAW_TYPE}

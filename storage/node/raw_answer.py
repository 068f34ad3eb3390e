"""One block, as it is. Hashed by the store just before it leaves."""

from __future__ import annotations

from aiohttp import web

from .byte_range import read_range
from .conditional import has_it, not_modified
from .headers import download_as, good_headers
from .serving import Serving
from .wanted import RAW_TYPE, Wanted


async def answer_raw(request: web.Request, wanted: Wanted, serving: Serving) -> web.StreamResponse:
    """The block of `wanted.root`, or a range of it."""
    cid, etag = wanted.root, f'"{wanted.root}.raw"'
    headers = good_headers(wanted, (cid,), etag)
    if has_it(request, etag) and await serving.reads.run(serving.store.has, cid):
        return not_modified(headers)
    block = await serving.reads.run(serving.store.get, cid)
    part = read_range(
        request.headers.get("Range"), len(block.data), etag=etag, if_range=request.headers.get("If-Range")
    )
    headers |= part.headers() | download_as(wanted.filename or f"{cid}.bin") | {"Content-Type": RAW_TYPE}
    response = web.StreamResponse(status=part.status, headers=headers)
    await response.prepare(request)
    if request.method != "HEAD":
        await serving.sender.send_bytes(request, response, block.data[part.start : part.end])
    return response

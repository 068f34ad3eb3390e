"""One block, as it is. Hashed by the store just before it leaves."""

from __future__ import annotations

from aiohttp import web

from ..blocks.store import BlockStore
from .byte_range import read_range
from .headers import download_as, good_headers
from .reads import Reads
from .sending import send_bytes
from .wanted import RAW_TYPE, Wanted


async def answer_raw(request: web.Request, wanted: Wanted, store: BlockStore, reads: Reads) -> web.StreamResponse:
    """The block of `wanted.root`, or a range of it."""
    block = await reads.run(store.get, wanted.root)
    etag = f'"{wanted.root}.raw"'
    part = read_range(
        request.headers.get("Range"), len(block.data), etag=etag, if_range=request.headers.get("If-Range")
    )
    headers = good_headers(wanted.path, (wanted.root,), etag) | part.headers() | download_as(f"{wanted.root}.bin")
    response = web.StreamResponse(status=part.status, headers={**headers, "Content-Type": RAW_TYPE})
    await response.prepare(request)
    if request.method != "HEAD":
        await send_bytes(request, response, block.data[part.start : part.end])
    return response

"""A file as a browser or `curl` wants it: whole or in ranges.

A file that is surely the one that was hashed goes out by sendfile; any other leaf by leaf, each hashed.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator

from aiohttp import web

from ..blocks.disk import DiskStore, OpenFile, reader
from ..cid import CID
from ..dag import walk
from ..dag.layout import FileLayout
from ..errors import FileChangedError, HoldfastError
from .byte_range import ByteRange, read_range
from .headers import good_headers
from .reads import Reads
from .refusals import Refusals
from .sending import cut, send_file, send_parts
from .wanted import Wanted


async def answer_file(
    request: web.Request,
    wanted: Wanted,
    cid: CID,
    roots: tuple[CID, ...],
    file: OpenFile | None,
    store: DiskStore,
    reads: Reads,
    refusals: Refusals,
) -> web.StreamResponse:
    """The file `cid`. `file`, if given, holds it; it is closed here."""
    try:
        layout = None if file else await reads.run(_layout, store, cid)
        size = file.row.stamp.size if file else layout.size if layout else 0
        etag = f'"{cid}"'
        part = read_range(request.headers.get("Range"), size, etag=etag, if_range=request.headers.get("If-Range"))
        headers = good_headers(wanted.path, roots, etag) | part.headers() | {"Content-Type": _media_type(wanted)}
        response = web.StreamResponse(status=part.status, headers=headers)
        if file is not None:
            await _by_sendfile(request, response, file, part, refusals)
        elif layout is not None:
            await _by_leaves(request, response, layout, part, store, reads, refusals)
        return response
    finally:
        if file is not None:
            file.close()


async def _by_sendfile(
    request: web.Request, response: web.StreamResponse, file: OpenFile, part: ByteRange, refusals: Refusals
) -> None:
    if request.method == "HEAD":
        await response.prepare(request)
        return
    try:
        await send_file(request, response, file, part.start, part.end)
    except FileChangedError as error:
        refusals.name(error)
        cut(request)


async def _by_leaves(
    request: web.Request,
    response: web.StreamResponse,
    layout: FileLayout,
    part: ByteRange,
    store: DiskStore,
    reads: Reads,
    refusals: Refusals,
) -> None:
    pieces = _pieces(store, layout, part)
    piece = await reads.run(next, pieces, b"")  # an absent leaf is known before anything is sent
    await response.prepare(request)
    if request.method == "HEAD":
        return
    try:
        await send_parts(request, response, piece, lambda: reads.run(next, pieces, b""))
    except HoldfastError as error:
        refusals.name(error)
        cut(request)


def _layout(store: DiskStore, cid: CID) -> FileLayout:
    return walk.run(walk.file_layout(cid), reader(store))


def _pieces(store: DiskStore, layout: FileLayout, part: ByteRange) -> Iterator[bytes]:
    for leaf in layout.leaves_of(part.start, part.end):
        start, _ = layout.leaf_range(leaf)
        data = store.get(layout.leaf_cid(leaf)).data
        yield data[max(part.start - start, 0) : part.end - start]


def _media_type(wanted: Wanted) -> str:
    name = wanted.segments[-1] if wanted.segments else ""
    media, encoding = mimetypes.guess_type(name, strict=False)
    if media is None or encoding is not None:
        return "application/octet-stream"
    return f"{media}; charset=utf-8" if media.startswith("text/") else media

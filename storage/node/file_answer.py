"""A file as a browser or `curl` wants it: whole or in ranges.

A file that is surely the one that was hashed goes out by sendfile; any other leaf by leaf, or block by block where
its leaves are no ranges of one size; each is hashed.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator

from aiohttp import web

from ..blocks.disk import DiskStore, OpenFile, reader
from ..cid import CID
from ..dag import walk
from ..dag.layout import FileLayout
from ..errors import FileChangedError, FormatError, HoldfastError
from .byte_range import ByteRange, read_range
from .conditional import has_it, not_modified
from .headers import download_as, good_headers
from .sending import cut
from .serving import Serving
from .wanted import Wanted


async def answer_file(
    request: web.Request, wanted: Wanted, cid: CID, roots: tuple[CID, ...], file: OpenFile | None, serving: Serving
) -> web.StreamResponse:
    """The file `cid`. `file`, if given, holds it; it is closed here."""
    try:
        etag = f'"{cid}"'
        headers = good_headers(wanted, roots, etag)
        if has_it(request, etag) and (file is not None or await serving.reads.run(serving.store.has, cid)):
            return not_modified(headers)
        layout = await serving.reads.run(_layout, serving.store, cid) if file is None else file.row.stamp.size
        size = layout.size if isinstance(layout, FileLayout) else layout
        part = read_range(request.headers.get("Range"), size, etag=etag, if_range=request.headers.get("If-Range"))
        headers |= part.headers() | {"Content-Type": _media_type(wanted)} | _disposition(wanted, cid)
        response = web.StreamResponse(status=part.status, headers=headers)
        if file is not None:
            await send_from_file(request, response, file, part.start, part.end, serving)
        else:
            await _by_pieces(request, response, _pieces(serving.store, cid, layout, part), serving)
        return response
    finally:
        if file is not None:
            file.close()


async def send_from_file(
    request: web.Request, response: web.StreamResponse, file: OpenFile, start: int, end: int, serving: Serving
) -> None:
    """Bytes [start, end) of a trusted file by sendfile; the connection is cut when it changes meanwhile."""
    if request.method == "HEAD":
        await response.prepare(request)
        return
    try:
        await serving.sender.send_file(request, response, file, start, end)
    except FileChangedError as error:
        serving.refusals.name(error)
        cut(request, error.message)


async def _by_pieces(
    request: web.Request, response: web.StreamResponse, pieces: Iterator[bytes], serving: Serving
) -> None:
    piece = await serving.reads.run(next, pieces, b"")  # an absent leaf is known before anything is sent
    await response.prepare(request)
    if request.method == "HEAD":
        return
    try:
        await serving.sender.send_parts(request, response, piece, lambda: serving.reads.run(next, pieces, b""))
    except HoldfastError as error:
        serving.refusals.name(error)
        cut(request, error.message)


def _layout(store: DiskStore, cid: CID) -> FileLayout | int:
    """The layout of a file, or its size in bytes if it has none."""
    try:
        return walk.run(walk.file_layout(cid), reader(store))
    except walk.NoLayoutError:
        root = walk.ContentWalk(cid)
        root.take(store.get(cid).data)
        return root.size or 0


def _pieces(store: DiskStore, cid: CID, layout: FileLayout | int, part: ByteRange) -> Iterator[bytes]:
    if not isinstance(layout, FileLayout):
        walked = walk.ContentWalk(cid, part.start, part.end)
        yield from walk.content(walked, lambda block: store.get(block.cid).data)
        return
    for leaf in layout.leaves_of(part.start, part.end):
        start, end = layout.leaf_range(leaf)
        data = store.get(layout.leaf_cid(leaf)).data
        if len(data) != end - start:  # more or less than was promised to the client
            raise FormatError(
                f"the leaf {layout.leaf_cid(leaf)} has {len(data)} bytes; its node says {end - start}",
                hint="its publisher made a tree that contradicts itself: ask for its blocks, not for the file",
            )
        yield data[max(part.start - start, 0) : part.end - start]


def _name(wanted: Wanted) -> str:
    return wanted.filename or (wanted.segments[-1] if wanted.segments else "")


def _disposition(wanted: Wanted, cid: CID) -> dict[str, str]:
    """Shown by a browser, unless the URL asks to save it (path gateway, "Content-Disposition")."""
    if wanted.download:
        return download_as(_name(wanted) or str(cid))
    return download_as(wanted.filename, inline=True) if wanted.filename else {}


def _media_type(wanted: Wanted) -> str:
    media, encoding = mimetypes.guess_type(_name(wanted), strict=False)
    if media is None or encoding is not None:
        return "application/octet-stream"
    return f"{media}; charset=utf-8" if media.startswith("text/") else media

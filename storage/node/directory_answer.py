"""A directory as a page for people, or as JSON. Names come from strangers: everything is escaped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from aiohttp import web

from ...configs.sizes import format_size
from ..blocks.disk import reader
from ..cid import CID
from ..dag import walk
from ..dag.directories import DirEntry
from .conditional import has_it, not_modified
from .headers import good_headers
from .serving import Serving
from .wanted import Wanted

_MAX_ENTRIES = 100_000
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = "body{font:16px sans-serif;margin:2em;max-width:60em}td{padding:.1em 2em .1em 0}code{color:#666}"


async def answer_directory(
    request: web.Request, wanted: Wanted, cid: CID, roots: tuple[CID, ...], serving: Serving
) -> web.StreamResponse:
    """The entries of the directory `cid`."""
    etag = f'W/"{cid}.{"json" if wanted.json else "html"}"'
    headers = good_headers(wanted, roots, etag)
    if has_it(request, etag):  # the block itself was read on the way here
        return not_modified(headers)
    read = serving.reads.run
    entries = await read(walk.run, walk.list_directory(cid, max_entries=_MAX_ENTRIES), reader(serving.store))
    if wanted.json:
        body, media = await read(_json, cid, entries), "application/json"
    else:
        body, media = await read(_page, wanted, entries), "text/html"
        headers["Content-Security-Policy"] = _POLICY
    headers |= {"Content-Type": f"{media}; charset=utf-8", "Content-Length": str(len(body))}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    if request.method != "HEAD":
        await serving.sender.send_bytes(request, response, body)
    return response


def _json(cid: CID, entries: Sequence[DirEntry]) -> bytes:
    rows = [{"name": entry.name, "cid": str(entry.cid), "tsize": entry.tsize} for entry in entries]
    return json.dumps({"cid": str(cid), "entries": rows}).encode()


def _page(wanted: Wanted, entries: Sequence[DirEntry]) -> bytes:
    title = escape("/".join([str(wanted.root), *wanted.segments]))
    base = "/".join(["/ipfs", str(wanted.root), *(quote(segment, safe="") for segment in wanted.segments)])
    rows = "".join(
        f'<tr><td><a href="{base}/{quote(entry.name, safe="")}">{escape(entry.name)}</a></td>'
        f"<td>{format_size(entry.tsize) if entry.tsize is not None else ''}</td>"
        f"<td><code>{entry.cid}</code></td></tr>\n"
        for entry in entries
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
        f"<h1>{title}</h1><table>\n{rows}</table></html>\n"
    ).encode()

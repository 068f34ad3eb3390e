"""A directory as a page for people, or as JSON. Names come from strangers: everything is escaped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from aiohttp import web

from ...configs.sizes import format_size
from ..blocks.disk import DiskStore, reader
from ..cid import CID
from ..dag import walk
from ..dag.directories import DirEntry
from .headers import good_headers
from .reads import Reads
from .wanted import Wanted

_MAX_ENTRIES = 100_000
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = "body{font:16px sans-serif;margin:2em;max-width:60em}td{padding:.1em 2em .1em 0}code{color:#666}"


async def answer_directory(
    wanted: Wanted, cid: CID, roots: tuple[CID, ...], store: DiskStore, reads: Reads
) -> web.StreamResponse:
    """The entries of the directory `cid`."""
    entries = await reads.run(walk.run, walk.list_directory(cid, max_entries=_MAX_ENTRIES), reader(store))
    kind = "json" if wanted.json else "html"
    headers = good_headers(wanted.path, roots, f'W/"{cid}.{kind}"') | {"Vary": "Accept"}
    if wanted.json:
        body, media = await reads.run(_json, cid, entries), "application/json"
    else:
        body, media = await reads.run(_page, wanted, entries), "text/html"
        headers["Content-Security-Policy"] = _POLICY
    return web.Response(body=body, content_type=media, charset="utf-8", headers=headers)


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

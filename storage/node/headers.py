"""The headers of a good answer. Specification: trustless gateway, "Response headers"."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from ..cid import CID
from .wanted import Wanted

IMMUTABLE = "public, max-age=29030400, immutable"
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "Range, Accept, Content-Type, If-None-Match",
    "Access-Control-Expose-Headers": "Content-Disposition, Content-Length, Content-Location, Content-Range, ETag,"
    " Retry-After, X-Ipfs-Path, X-Ipfs-Roots",
}


def good_headers(wanted: Wanted, roots: Iterable[CID], etag: str) -> dict[str, str]:
    """What every answer about content has: it never changes."""
    headers = {
        **CORS,
        "Cache-Control": IMMUTABLE,
        "ETag": etag,
        "Vary": "Accept",
        "X-Ipfs-Path": wanted.path,
        "X-Ipfs-Roots": ",".join(str(root) for root in roots),
        "X-Content-Type-Options": "nosniff",
    }
    if wanted.location:
        headers["Content-Location"] = wanted.location
    return headers


def download_as(name: str, *, inline: bool = False) -> dict[str, str]:
    """The header that has a browser save the answer as `name` (RFC 6266; `filename*` is RFC 5987).

    Old readers get a name of plain ASCII; what no file may be called is replaced for all.
    """
    name = "".join("_" if char in '/\\"' or not char.isprintable() else char for char in name)
    plain = "".join(char if char.isascii() and char != "%" else "_" for char in name)
    value = f'{"inline" if inline else "attachment"}; filename="{plain}"'
    if plain != name:
        value += f"; filename*=UTF-8''{quote(name, safe='')}"
    return {"Content-Disposition": value}

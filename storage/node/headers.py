"""The headers of a good answer. Specification: trustless gateway, "Response headers"."""

from __future__ import annotations

from collections.abc import Iterable

from ..cid import CID

IMMUTABLE = "public, max-age=29030400, immutable"
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "Range, Accept, Content-Type",
    "Access-Control-Expose-Headers": "Content-Length, Content-Range, ETag, X-Ipfs-Path, X-Ipfs-Roots",
}


def good_headers(path: str, roots: Iterable[CID], etag: str) -> dict[str, str]:
    """What every answer about content has: it never changes. `path` is escaped already."""
    return {
        **CORS,
        "Cache-Control": IMMUTABLE,
        "ETag": etag,
        "X-Ipfs-Path": path,
        "X-Ipfs-Roots": ",".join(str(root) for root in roots),
        "X-Content-Type-Options": "nosniff",
    }


def download_as(name: str) -> dict[str, str]:
    """The headers that have a browser save the answer. `name` is one that we made: a CID and a suffix."""
    return {"Content-Disposition": f'attachment; filename="{name}"'}

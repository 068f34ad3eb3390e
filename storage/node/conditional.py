"""If-None-Match (RFC 9110 §13.1.2): whether the client has the answer already."""

from __future__ import annotations

import re

from aiohttp import web

_TAG = re.compile(r'(?:W/)?("[^"]*")')
_NOT_IN_304 = ("Content-Type", "Content-Length", "Content-Disposition", "Content-Range", "Accept-Ranges")


def has_it(request: web.Request, etag: str) -> bool:
    """Whether If-None-Match names `etag`, by weak comparison, or anything (`*`)."""
    given = ",".join(request.headers.getall("If-None-Match", []))
    return given.strip() == "*" or etag.removeprefix("W/") in _TAG.findall(given)


def not_modified(headers: dict[str, str]) -> web.Response:
    """The answer 304, with the headers of the answer that it stands for."""
    return web.Response(status=304, headers={name: value for name, value in headers.items() if name not in _NOT_IN_304})

"""Errors as HTTP answers, and the log of files that changed under us.

Absence is a fast 404, never a 5xx: Kubo counts server errors and gives a peer up (facts: how Kubo fetches).
"""

from __future__ import annotations

import logging

from aiohttp import web

from ..dag.walk import PathNotFoundError
from ..errors import (
    BlockMissingError,
    FileChangedError,
    FormatError,
    HoldfastError,
    IntegrityError,
    UnsupportedError,
)
from .byte_range import UnsatisfiableError
from .crowd import RETRY_AFTER_S, BusyError
from .headers import CORS
from .refused import RefusedError

LOG = logging.getLogger("holdfast.node")
_MAX_NAMED = 10_000


class Refusals:
    """Answers for errors. Each file that changed is named in the log once."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def answer(self, error: Exception) -> web.Response:
        """The answer for an error of ours; anything else is raised again."""
        if isinstance(error, UnsatisfiableError):
            return _text(416, error.reason, {"Content-Range": f"bytes */{error.size}"})
        if isinstance(error, RefusedError):
            return _text(error.status, error.reason)
        if isinstance(error, FileChangedError):
            self.name(error)  # the client is not told where our files lie
            return _text(404, "the file that held this block is not what it was when it was hashed: not served")
        if isinstance(error, BlockMissingError):
            return _text(404, error.message.split(" is not ")[0] + " is not here")  # nor do we say where "here" is
        if isinstance(error, IntegrityError):
            self.name(error)
            return _text(404, "the block is rotten here: not served")
        if isinstance(error, PathNotFoundError):
            return _text(404, error.message)
        if isinstance(error, UnsupportedError):
            return _text(406, error.message)
        if isinstance(error, FormatError):
            return _text(406, f"not readable as UnixFS: {error.message}")
        if isinstance(error, HoldfastError):
            LOG.error("%s", error.message)
            return _text(500, "this peer cannot read its disk")
        raise error

    def name(self, error: HoldfastError) -> None:
        """Write a warning, once for each file (the hint names it)."""
        key = error.hint or error.message
        if key not in self._named and len(self._named) < _MAX_NAMED:
            self._named.add(key)
            LOG.warning("%s", error.message)


def busy(error: BusyError) -> web.Response:
    """The answer 429."""
    return _text(429, error.reason, {"Retry-After": str(RETRY_AFTER_S)})


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    caching = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return web.Response(status=status, text=f"{text}\n", headers={**CORS, **caching, **(headers or {})})

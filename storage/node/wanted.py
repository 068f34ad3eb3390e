"""`Wanted`: what a gateway request asks for, read from its URL and headers. Pure.

Specification: ipfs/specs, src/http-gateways/trustless-gateway.md; `format=` beats `Accept` (IPIP-0523).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import get_args
from urllib.parse import unquote

from ..cid import CID
from ..dag.order import Scope
from ..errors import FormatError

RAW_TYPE, CAR_TYPE = "application/vnd.ipld.raw", "application/vnd.ipld.car"


class Format(StrEnum):
    """How the content is to be sent."""

    PLAIN = "plain"
    RAW = "raw"
    CAR = "car"


class RefusedError(Exception):
    """The request cannot be answered as it is: an HTTP status and a sentence."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True, slots=True)
class Wanted:
    """A root, a path below it, a format. `path` is the URL's own, still escaped: it is safe in a header."""

    root: CID
    segments: tuple[str, ...]
    format: Format
    scope: Scope
    path: str
    json: bool


def read_wanted(raw_path: str, query: Mapping[str, str], accept: str) -> Wanted:
    """Read a request for `/ipfs/…`. Raises `RefusedError`: 400 for a malformed one, 406 for an unknown format."""
    name, *rest = raw_path.removeprefix("/ipfs/").split("/")
    try:
        root = CID.parse(unquote(name, errors="strict"))
        segments = [unquote(segment, errors="strict") for segment in rest]
    except (FormatError, ValueError) as error:
        raise RefusedError(400, str(error)) from error
    while segments and not segments[-1]:
        segments.pop()
    kind = _format(query.get("format"), accept)
    if kind is Format.RAW and segments:
        raise RefusedError(400, "format=raw is one block and takes no path; ask for the CID of the block")
    scope = query.get("dag-scope", "all")
    for known in get_args(Scope):
        if scope == known:
            return Wanted(root, tuple(segments), kind, known, raw_path, "application/json" in accept)
    raise RefusedError(400, f"dag-scope={scope[:40]!r}: block, entity or all")


def _format(given: str | None, accept: str) -> Format:
    if given is not None:
        if given in (Format.RAW, Format.CAR):
            return Format(given)
        raise RefusedError(406, f"format={given[:40]!r} is not served: raw or car")
    refused = ""
    for item in accept.split(","):
        media, *parameters = [part.strip().lower() for part in item.split(";")]
        if media == RAW_TYPE:
            return Format.RAW
        if media == CAR_TYPE:
            if any(part.startswith("version=") and part != "version=1" for part in parameters):
                raise RefusedError(406, "only version 1 of CAR is served")
            return Format.CAR
        if media in ("text/html", "*/*", "application/json"):
            return Format.PLAIN
        if media.startswith(("application/vnd.ipld.", "application/vnd.ipfs.")):
            refused = media
    if refused:
        raise RefusedError(406, f"{refused[:60]} is not served: {RAW_TYPE} or {CAR_TYPE}")
    return Format.PLAIN

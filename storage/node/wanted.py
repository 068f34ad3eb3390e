"""`Wanted`: what a gateway request asks for, read from its URL and headers. Pure.

Specification: ipfs/specs, src/http-gateways/trustless-gateway.md; `format=` beats `Accept` (IPIP-0523).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import get_args
from urllib.parse import quote, unquote

from ..cid import CID
from ..dag.entity_bytes import EntityBytes
from ..dag.order import Scope
from ..errors import FormatError
from ..limits import MAX_NAME_BYTES
from .accept import MediaRange, read_accept
from .car_parameters import CAR_TYPE, DEFAULT, CarParameters, read_car_parameters
from .refused import RefusedError

RAW_TYPE = "application/vnd.ipld.raw"
_PLAIN_TYPES = ("text/html", "*/*", "application/json", "application/octet-stream")
_UNSERVED = ("application/vnd.ipld.", "application/vnd.ipfs.", "application/x-tar")


class Format(StrEnum):
    """How the content is to be sent."""

    PLAIN = "plain"
    RAW = "raw"
    CAR = "car"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A root, a path below it, a format.

    `path` is the URL's own, still escaped: it is safe in a header. `filename`: what to save the answer as, if the
    URL says. `location`: the URL that says in full what Accept asked for; "" if the URL said so already.
    """

    root: CID
    segments: tuple[str, ...]
    format: Format
    path: str
    json: bool = False
    scope: Scope = "all"
    entity: EntityBytes | None = None
    car: CarParameters = DEFAULT
    filename: str = ""
    download: bool = False
    only_if_cached: bool = False
    location: str = ""


def read_wanted(raw_path: str, query: Mapping[str, str], accept: str, cache_control: str = "") -> Wanted:
    """Read a request for `/ipfs/…`. Raises `RefusedError`: 400 for a malformed one, 406 for what is not served."""
    name, *rest = raw_path.removeprefix("/ipfs/").split("/")
    try:
        root = CID.parse(unquote(name, errors="strict"))
        segments = [unquote(segment, errors="strict") for segment in rest]
    except (FormatError, ValueError) as error:
        raise RefusedError(400, str(error)) from error
    while segments and not segments[-1]:
        segments.pop()
    accepted = read_accept(accept)
    kind = _format(query.get("format"), accepted)
    if kind is Format.RAW and segments:
        raise RefusedError(400, "format=raw is one block and takes no path; ask for the CID of the block")
    scope, entity = _shape(query) if kind is Format.CAR else ("all", None)
    car = read_car_parameters(query, accepted) if kind is Format.CAR else DEFAULT
    return Wanted(
        root, tuple(segments), kind, raw_path,
        json="application/json" in accept,
        scope=scope, entity=entity, car=car,
        filename=_filename(query.get("filename", "")),
        download=query.get("download") == "true",
        only_if_cached="only-if-cached" in [part.strip().lower() for part in cache_control.split(",")],
        location=_location(raw_path, query, kind, car),
    )  # fmt: skip


def _format(given: str | None, accepted: Sequence[MediaRange]) -> Format:
    if given is not None:
        if given in (Format.RAW, Format.CAR):
            return Format(given)
        raise RefusedError(406, f"format={given[:40]!r} is not served: raw or car")
    refused = ""
    for item in accepted:
        if item.media == RAW_TYPE:
            return Format.RAW
        if item.media == CAR_TYPE:
            return Format.CAR
        if item.media in _PLAIN_TYPES:
            return Format.PLAIN
        if item.media.startswith(_UNSERVED):
            refused = refused or item.media
    if refused:
        raise RefusedError(406, f"{refused[:60]} is not served: {RAW_TYPE} or {CAR_TYPE}")
    return Format.PLAIN


def _shape(query: Mapping[str, str]) -> tuple[Scope, EntityBytes | None]:
    """`dag-scope` and `entity-bytes`; the second implies the scope `entity`."""
    if "entity-bytes" in query:
        try:
            return "entity", EntityBytes.parse(query["entity-bytes"])
        except FormatError as error:
            raise RefusedError(400, error.message) from error
    given = query.get("dag-scope", "all")
    for known in get_args(Scope):
        if given == known:
            return known, None
    raise RefusedError(400, f"dag-scope={given[:40]!r}: block, entity or all")


def _filename(text: str) -> str:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise RefusedError(400, f"filename= is longer than {MAX_NAME_BYTES} bytes")
    return text


def _location(path: str, query: Mapping[str, str], kind: Format, car: CarParameters) -> str:
    """Specification: "Content-Location"; for caches that keep answers by URL alone."""
    said = dict(query)
    if kind is not Format.PLAIN:
        said["format"] = kind.value
    if kind is Format.CAR and (car.dups or "car-dups" in query):
        said["car-dups"] = "y" if car.dups else "n"
    if said == dict(query):
        return ""
    return f"{path}?" + "&".join(f"{quote(name)}={quote(value, safe=':*')}" for name, value in said.items())

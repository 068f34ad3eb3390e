"""`PinBody`: what `POST /pins` sends. Pure, bounded."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from ..cid import CID
from ..errors import FormatError
from .pin_query import read_meta

MAX_BODY_BYTES = 64 << 10
MAX_ORIGINS = 20
_MAX_ORIGIN_CHARS = 2048
_MAX_NAME_CHARS = 255


@dataclass(frozen=True, slots=True)
class PinBody:
    """A request to keep a DAG. Origins that we cannot dial (libp2p addresses) are legal; they are passed over later."""

    cid: CID
    name: str
    origins: tuple[str, ...]
    meta: dict[str, str] = field(hash=False)

    @classmethod
    def parse(cls, body: bytes) -> PinBody:
        """Read the JSON of a request. Raises `ValueError` naming the field that is wrong."""
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ValueError("the body is not JSON") from error
        if not isinstance(found, dict):
            raise ValueError("the body is not a JSON object")
        try:
            cid = CID.parse(_text(found, "cid", 2 * _MAX_NAME_CHARS))
        except FormatError as error:
            raise ValueError(f"cid: {error.message}") from error
        name = _text(found, "name", _MAX_NAME_CHARS, default="")
        origins = found.get("origins") or []
        if not isinstance(origins, list) or len(origins) > MAX_ORIGINS:
            raise ValueError(f"origins: expected a list of at most {MAX_ORIGINS} addresses")
        if not all(isinstance(origin, str) and len(origin) <= _MAX_ORIGIN_CHARS for origin in origins):
            raise ValueError(f"origins: expected texts of at most {_MAX_ORIGIN_CHARS} characters")
        try:
            meta = read_meta(found.get("meta") or {})
        except ValueError as error:
            raise ValueError(f"meta: {error}") from error
        return cls(cid, name, tuple(dict.fromkeys(origins)), meta)


def _text(found: dict[str, object], key: str, limit: int, *, default: str | None = None) -> str:
    value = found.get(key, default)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or len(value) > limit or not value.isprintable():
        raise ValueError(f"{key}: expected one line of at most {limit} characters")
    return value

"""`PinQuery`: what `GET /pins` asks for. Pure. Specification: IPFS Pinning Service API v1, "List pin objects"."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ..cid import CID
from ..errors import FormatError
from ..pins.pin import Status, parse_time

DEFAULT_LIMIT, MAX_LIMIT = 10, 1000
_MAX_CIDS = 10
_END_OF_TIME_US = (1 << 63) - 1


class Match(StrEnum):
    """How `name` is compared; the i-kinds ignore case."""

    EXACT = "exact"
    IEXACT = "iexact"
    PARTIAL = "partial"
    IPARTIAL = "ipartial"


@dataclass(frozen=True, slots=True)
class PinQuery:
    """Filters; empty ones let everything pass."""

    cids: tuple[CID, ...] = ()
    name: str | None = None
    match: Match = Match.EXACT
    statuses: tuple[Status, ...] = (Status.PINNED,)
    before_us: int = _END_OF_TIME_US
    after_us: int = -1
    limit: int = DEFAULT_LIMIT
    meta: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> PinQuery:
        """Read the parameters of a request. Raises `ValueError` naming the parameter that is wrong."""
        at = "cid"
        try:
            cids = tuple(CID.parse(text) for text in _list(query.get("cid")))
            if len(cids) > _MAX_CIDS:
                raise ValueError(f"at most {_MAX_CIDS}")
            at = "match"
            match = Match(query.get("match", "exact"))
            at = "status"
            statuses = tuple(Status(text) for text in _list(query.get("status", "pinned")))
            at = "before"
            before_us = parse_time(query["before"]) if "before" in query else _END_OF_TIME_US
            at = "after"
            after_us = parse_time(query["after"]) if "after" in query else -1
            at = "limit"
            limit = int(query.get("limit", DEFAULT_LIMIT))
            if not 1 <= limit <= MAX_LIMIT:
                raise ValueError(f"1 to {MAX_LIMIT}")
            at = "meta"
            meta = read_meta(json.loads(query.get("meta", "{}")))
        except (ValueError, OverflowError, RecursionError, FormatError) as error:
            raise ValueError(f"{at}: {error}"[:200]) from error
        return cls(cids, query.get("name"), match, statuses, before_us, after_us, limit, meta)

    def matches(self, name: str, meta: Mapping[str, str]) -> bool:
        """Whether a pin passes the filters that are not columns of the database."""
        if not self.meta.items() <= meta.items():
            return False
        if self.name is None:
            return True
        wanted = self.name
        if self.match in (Match.IEXACT, Match.IPARTIAL):
            wanted, name = wanted.casefold(), name.casefold()
        return wanted == name if self.match in (Match.EXACT, Match.IEXACT) else wanted in name


def read_meta(found: object) -> dict[str, str]:
    """A map of text to text. Raises `ValueError`."""
    if not isinstance(found, dict) or len(found) > 100:
        raise ValueError("expected an object of at most 100 texts")
    if not all(isinstance(value, str) and len(key) <= 255 and len(value) <= 4096 for key, value in found.items()):
        raise ValueError("expected texts of at most 4,096 characters")
    return found


def _list(text: str | None) -> list[str]:
    return text.split(",") if text else []

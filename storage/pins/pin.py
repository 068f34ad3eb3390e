"""`Pin`: a request to keep a DAG, and how far it got. Terms of the IPFS Pinning Service API v1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from ..cid import CID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Status(StrEnum):
    """The life of a pin. Only `PINNED` says that the provider claims to hold every block."""

    QUEUED = "queued"
    PINNING = "pinning"
    PINNED = "pinned"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self in (Status.PINNED, Status.FAILED)


@dataclass(frozen=True, slots=True)
class Pin:
    """One request as its provider reports it: a claim, not a proof. Read the blocks back to know."""

    requestid: str
    cid: CID
    name: str
    status: Status
    created_us: int
    origins: tuple[str, ...] = ()
    info: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def error(self) -> str:
        """Why it failed, in the provider's words; "" when it did not say."""
        return self.info.get("error", "") or self.info.get("status_details", "")

    def progress(self) -> tuple[int, int] | None:
        """Bytes there and bytes in all, if the provider says so."""
        try:
            return int(self.info["bytes"]), int(self.info["total_bytes"])
        except (KeyError, ValueError):
            return None


def format_time(microseconds: int) -> str:
    """A time of the API: RFC 3339, UTC, always to the microsecond, so that texts sort as times do."""
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str) -> int:
    """Microseconds since 1970 of an RFC 3339 time. Raises `ValueError`; a time without a zone is none."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text[:40]!r} has no time zone")
    return (moment - _EPOCH) // timedelta(microseconds=1)

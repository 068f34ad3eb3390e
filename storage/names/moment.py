"""Moments as IPNS records write them: RFC 3339 in UTC with nanoseconds, here as nanoseconds since 1970."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from ..errors import FormatError

S = 1_000_000_000  # nanoseconds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_CHARS = len("2026-01-01T00:00:00")
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.(?P<fraction>\d{1,9}))?(?P<zone>Z|[+-]\d\d:\d\d)", re.ASCII)


def format_moment(ns: int) -> str:
    """As Kubo writes it (Go's RFC3339Nano): no zeros at the end. Raises `ValueError` beyond the year 9999."""
    seconds, fraction = divmod(ns, S)
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError as error:
        raise ValueError(f"{seconds} seconds after 1970 is beyond the year 9999") from error
    digits = f"{fraction:09d}".rstrip("0")
    return f"{moment.replace(tzinfo=None).isoformat()}{'.' if digits else ''}{digits}Z"


def parse_moment(text: str) -> int:
    """Raises `FormatError` for anything else than one moment."""
    found = _RFC_3339.fullmatch(text)
    try:
        if found is None:
            raise ValueError("not RFC 3339")
        zone = found["zone"].replace("Z", "+00:00")
        moment = datetime.fromisoformat(text[:_SECONDS_CHARS] + zone).astimezone(UTC) - _EPOCH
    except (ValueError, OverflowError) as error:
        raise FormatError(f"not a moment: {text[:40]!r}") from error
    return (moment // timedelta(seconds=1)) * S + int((found["fraction"] or "0").ljust(9, "0"))

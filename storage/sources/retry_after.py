"""`Retry-After` (RFC 9110 §10.2.3): seconds, or a date."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

MAX_WAIT_S = 60.0  # no server may put us off for longer at a time

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?", re.ASCII)


def retry_after_s(text: str | None, now: float | None = None) -> float:
    """How long to wait, in seconds: 0 to `MAX_WAIT_S`; 0 for what says nothing. `now`: the wall clock."""
    text = (text or "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), MAX_WAIT_S)
    try:
        due = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return 0.0
    return min(max(due - (time.time() if now is None else now), 0.0), MAX_WAIT_S)

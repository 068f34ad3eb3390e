"""`try_until`: waits that the kernel would do without a deadline, with one."""

from __future__ import annotations

import time
from collections.abc import Callable

_PAUSE_S, _MAX_PAUSE_S = 0.0005, 0.05


def try_until(attempt: Callable[[], bool], limit_s: float) -> bool:
    """Try until it succeeds, more and more seldom; False when `limit_s` passed first."""
    limit, pause = time.monotonic() + limit_s, _PAUSE_S
    while not attempt():
        if time.monotonic() > limit:
            return False
        time.sleep(pause)
        pause = min(2 * pause, _MAX_PAUSE_S)
    return True

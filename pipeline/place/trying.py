"""What the placing of one root and of many share: when to try again, when to stop, and whose fault an error is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from ...storage.errors import HoldfastError, PeerError
from ...storage.printable import printable

T = TypeVar("T")
LOG = logging.getLogger("holdfast.place")
_TRIES = 3  # of what may be the road's fault
PAUSE_S = 1.0  # before the second; twice that before the third


class Stopped(Exception):  # noqa: N818 - no error: the user's wish
    """The user interrupted."""


def check(stop: threading.Event) -> None:
    """Raise `Stopped` once it is set."""
    if stop.is_set():
        raise Stopped


def retried(ask: Callable[[], T], pause_s: float, stop: threading.Event) -> T:
    """Asking is idempotent: what may have been the road is asked again."""
    for number in range(_TRIES - 1):
        try:
            return ask()
        except PeerError as error:
            if not error.retryable:
                raise
        stop.wait(pause_s * 2**number)
        check(stop)
    return ask()


def guarded(step: Callable[[], None], failed: Callable[[str], None], provider: str) -> None:
    """Never raises what a provider did: `failed` is told why; nothing is when the user interrupted."""
    try:
        step()
    except Stopped:
        pass
    except HoldfastError as error:
        failed(printable(error.message))
    except Exception as error:
        LOG.exception("a bug of holdfast, in what %s answered", provider)
        failed(f"a bug of holdfast: {type(error).__name__}")

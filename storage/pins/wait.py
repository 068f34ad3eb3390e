"""`wait`: until pins are pinned or failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import PeerError, UnavailableError
from .pin import Pin
from .target import PinTarget

_FIRST_S, _LONGEST_S = 0.05, 5.0


@dataclass(frozen=True, slots=True)
class Requested:
    """A pin and the target that was asked for it."""

    target: PinTarget
    pin: Pin


def wait(
    pins: Sequence[Requested],
    deadline_s: float,
    on_progress: Callable[[Requested], None] = lambda _: None,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Requested]:
    """Ask again, ever more seldom, until each is final; returns them in the order given.

    `on_progress` sees every answer. A failed pin is an answer, not an error. A provider that cannot be asked for
    a while is asked again. Raises `UnavailableError` at the deadline, naming who is not done and why.
    """
    current, problems = list(pins), dict.fromkeys(range(len(pins)), "")
    limit, pause = clock() + deadline_s, _FIRST_S
    while True:
        for at, item in enumerate(current):
            if item.pin.status.final:
                continue
            try:
                current[at] = Requested(item.target, item.target.status(item.pin.requestid))
            except PeerError as error:
                if not error.retryable:
                    raise
                problems[at] = error.message
                continue
            problems[at] = ""
            on_progress(current[at])
        waiting = [at for at, item in enumerate(current) if not item.pin.status.final]
        if not waiting:
            return current
        if clock() >= limit:
            said = "; ".join(
                f"{current[at].target.name}: {problems[at] or current[at].pin.status.value}" for at in waiting
            )
            raise UnavailableError(f"not pinned after {deadline_s:.0f} s: {said}", hint="ask again later")
        sleep(min(pause, max(limit - clock(), 0)))
        pause = min(pause * 1.5, _LONGEST_S)

"""`watch`: keep a name alive: sign its newest record again before it ends, and give it to everyone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..errors import ConfigError, HoldfastError
from .advance import Lifetime
from .key import PrivateKey
from .known import KnownNames
from .moment import S
from .place import NamePlace
from .publish import Pointed, give, renew

_SHARE = 0.5  # of the lifetime: the rest is there for places that are down for a while
RETRY_S = 60.0


def watch(
    key: PrivateKey,
    places: Sequence[NamePlace],
    known: KnownNames,
    lifetime: Lifetime,
    *,
    on_signed: Callable[[Pointed], None],
    on_error: Callable[[HoldfastError, float], None],
    clock_ns: Callable[[], int] = time.time_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Until interrupted. Signs at half of the lifetime; a place that did not take a record is given it every minute.

    Looks at the clock every minute: a machine that slept signs when it wakes. What goes wrong is told (`on_error`, with
    the seconds until it is tried again) and tried again, but for a `ConfigError`, as of a name without a record.
    """
    found: Pointed | None = None
    due_ns, left = 0, tuple[str, ...]()
    while True:
        try:
            if found is None or clock_ns() >= due_ns:
                found = renew(key, places, known, lifetime, clock_ns=clock_ns)
                due_ns, left = found.record.validity_ns - int(lifetime.lifetime_ns * (1 - _SHARE)), found.left
                on_signed(found)
            elif left:
                late = [place for place in places if place.name in left]
                left = tuple(name for name, problem in give(found.record, late) if problem)
        except ConfigError:
            raise
        except HoldfastError as error:
            pause_s = min(RETRY_S, _SHARE * lifetime.lifetime_ns / S)
            on_error(error, pause_s)
        else:
            pause_s = min(max((due_ns - clock_ns()) / S, 0), RETRY_S)
        sleep(pause_s)

"""`watch`: keep a name alive: sign its newest record again before it ends, and give it to everyone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..errors import HoldfastError, PeerError, UnavailableError
from .advance import Lifetime
from .choice import rank
from .key import PrivateKey
from .known import KnownNames
from .moment import S
from .place import NamePlace
from .publish import Pointed, point
from .record import Record
from .resolve import ask

_SHARE = 0.5  # of the lifetime: the rest is there for places that are down for a while
_RETRY_S = 60.0


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
    """Until interrupted. The newest record found is renewed: it may have been moved from another machine meanwhile.

    What no place takes is tried again soon (`on_error` says in how many seconds). Raises `UnavailableError` at the
    start where the name has no record yet, and whatever is no matter of places: `ConfigError`, `StoreError`.
    """
    _newest(key, places, known)
    while True:
        try:
            found = point(key, _newest(key, places, known).uri.root, places, known, clock_ns(), lifetime)
        except (UnavailableError, PeerError) as error:
            pause_s = min(_RETRY_S, _SHARE * lifetime.lifetime_ns / S)
            on_error(error, pause_s)
        else:
            on_signed(found)
            pause_s = max((found.record.validity_ns - clock_ns()) / S * _SHARE, 0)
        sleep(pause_s)


def _newest(key: PrivateKey, places: Sequence[NamePlace], known: KnownNames) -> Record:
    records = [candidate.record for candidate in ask(key.name, places)[0]]
    if (mine := known.get(key.name)) is not None:
        records.append(mine)
    if not records:
        raise UnavailableError(
            f"{key.name.short()} has no record to sign again", hint="`holdfast name publish` makes the first"
        )
    return max(records, key=rank)

"""`point` and `renew`: move a name, or keep it where it points, and give the record to everyone who keeps it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..cid import CID
from ..errors import ConfigError, HoldfastError, UnavailableError
from .advance import Lifetime, advance, path_of
from .choice import rank
from .key import PrivateKey
from .known import KnownNames
from .place import NamePlace
from .record import Record
from .resolve import MAX_THREADS, ask

_TRIES = 5  # of signing, while another machine with the same key signs too


@dataclass(frozen=True, slots=True)
class Pointed:
    """The record; for each place, "" or why it did not take it; and what was wrong with those that were asked first."""

    record: Record
    places: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]

    @property
    def left(self) -> tuple[str, ...]:
        """The places that did not take it."""
        return tuple(place for place, problem in self.places if problem)


def point(
    key: PrivateKey, root: CID, places: Sequence[NamePlace], known: KnownNames, lifetime: Lifetime, *,
    first: bool = False, clock_ns: Callable[[], int] = time.time_ns,
) -> Pointed:  # fmt: skip
    """Sign the next record, remember it, then give it away.

    The newest record that is known or found anywhere, ended or not, is what it replaces: a key may be used on several
    machines. A kill between the steps loses nothing: the same call again signs the same version.

    Raises `UnavailableError` where no place took it (it is remembered, and the next call gives it away), and where no
    record is known and not every place could be asked for one: it would begin at sequence 0, below what may be out
    there. `first` says that the key is new.
    """
    return _move(key, path_of(root), places, known, lifetime, first, clock_ns)


def renew(
    key: PrivateKey, places: Sequence[NamePlace], known: KnownNames, lifetime: Lifetime, *,
    clock_ns: Callable[[], int] = time.time_ns,
) -> Pointed:  # fmt: skip
    """Sign the newest record again, whatever it points at: it may have been moved from another machine meanwhile.

    Raises `UnavailableError` as `point` does, `ConfigError` where there is no record yet.
    """
    return _move(key, None, places, known, lifetime, False, clock_ns)


def give(record: Record, places: Sequence[NamePlace]) -> tuple[tuple[str, str], ...]:
    """Ask all places at once to keep a record; of each, "" or why it did not."""
    if not places:
        return ()
    with ThreadPoolExecutor(min(len(places), MAX_THREADS), thread_name_prefix="holdfast-name") as pool:
        return tuple(pool.map(lambda place: (place.name, _put(place, record)), places))


def _move(
    key: PrivateKey, value: str | None, places: Sequence[NamePlace], known: KnownNames, lifetime: Lifetime,
    first: bool, clock_ns: Callable[[], int],
) -> Pointed:  # fmt: skip
    if not places:
        raise ConfigError("nobody to keep the record", hint="give --to URL or --to ROSTER")
    with known.moving():
        asked = ask(key.name, places)
        records = [candidate.record for candidate in asked.candidates]
        for _ in range(_TRIES):
            if (mine := known.get(key.name)) is not None:
                records.append(mine)
            before = max(records, key=rank, default=None)
            if before is None and asked.errors and not first:
                raise UnavailableError(
                    f"no record of {key.name.short()} is known, and not all could be asked: {'; '.join(asked.errors)}",
                    hint="beginning anew would be below a record that is out there; is the key new, give --first",
                )
            target = value if value is not None or before is None else before.value
            if target is None:
                raise ConfigError(
                    f"{key.name.short()} has no record to sign again", hint="`holdfast name publish` makes the first"
                )
            record = advance(key, target, before, clock_ns(), lifetime)
            known.note(record)
            newest = known.get(key.name)
            if newest is None or newest.data == record.data:
                break
            records.append(newest)
    said = give(record, places)
    if all(problem for _, problem in said):
        told = "; ".join(f"{place}: {problem}" for place, problem in said)
        raise UnavailableError(f"no place took the record of {key.name.short()}: {told}", hint="say it again later")
    return Pointed(record, said, asked.problems)


def _put(place: NamePlace, record: Record) -> str:
    try:
        place.put(record.name, record.data)
    except HoldfastError as error:
        return error.message
    return ""

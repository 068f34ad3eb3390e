"""`point`: move a name to a root, and give the record to everyone who keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..cid import CID
from ..errors import ConfigError, HoldfastError, UnavailableError
from .advance import Lifetime, advance
from .choice import rank
from .key import PrivateKey
from .known import KnownNames
from .place import NamePlace
from .record import Record
from .resolve import MAX_THREADS, ask


@dataclass(frozen=True, slots=True)
class Pointed:
    """The record; for each place, "" or why it did not take it; and what was wrong with those that were asked first."""

    record: Record
    places: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]


def point(
    key: PrivateKey, root: CID, places: Sequence[NamePlace], known: KnownNames, now_ns: int, lifetime: Lifetime
) -> Pointed:
    """Sign the next record, remember it, then give it away.

    The newest record that is known or found anywhere, ended or not, is what it replaces: a key may be used on several
    machines. A kill between the steps loses nothing: the same call again signs the same version. Raises
    `UnavailableError` where no place took it: it is remembered, and the next call gives it away.
    """
    if not places:
        raise ConfigError("nobody to keep the record", hint="give --to URL or --to ROSTER")
    found, warnings = ask(key.name, places)
    records = [candidate.record for candidate in found]
    if (mine := known.get(key.name)) is not None:
        records.append(mine)
    record = advance(key, root, max(records, key=rank, default=None), now_ns, lifetime)
    known.note(record)
    with ThreadPoolExecutor(min(len(places), MAX_THREADS), thread_name_prefix="holdfast-name") as pool:
        said = list(pool.map(lambda place: (place.name, _put(place, record)), places))
    if all(problem for _, problem in said):
        told = "; ".join(f"{place}: {problem}" for place, problem in said)
        raise UnavailableError(f"no place took the record of {key.name.short()}: {told}", hint="say it again later")
    return Pointed(record, tuple(said), tuple(warnings))


def _put(place: NamePlace, record: Record) -> str:
    try:
        place.put(record.name, record.data)
    except HoldfastError as error:
        return error.message
    return ""

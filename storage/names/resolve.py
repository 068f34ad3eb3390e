"""`resolve`: ask every place at once where a name points, and believe the newest record that counts."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..errors import ConfigError, HoldfastError, UnavailableError
from .choice import Candidate, choose
from .known import KnownNames
from .name import Name
from .place import NamePlace
from .record import Record, read_record

MAX_THREADS = 16


@dataclass(frozen=True, slots=True)
class Resolved:
    """The record to follow; who gave it (as good a one); what was wrong elsewhere, one sentence each."""

    record: Record
    places: tuple[str, ...]
    warnings: tuple[str, ...]


def resolve(name: Name, places: Sequence[NamePlace], known: KnownNames, now_ns: int) -> Resolved:
    """Ask all places, within the deadline of the slowest; remember what is followed.

    One honest place that has the newest record is enough: others can be silent, late, wrong or old. Raises
    `StaleNameError` where only records are found that do not count, `UnavailableError` where no place has one and none
    was seen before, `ConfigError` without places.
    """
    if not places:
        raise ConfigError(f"nobody to ask where {name.short()} points", hint="give --from URL or --roster FILE")
    before = known.get(name)
    candidates, problems = ask(name, places)
    if not candidates and before is None:
        raise UnavailableError(
            f"no place knows where {name.short()} points: {'; '.join(problems)}", hint="ask more places (--from URL)"
        )
    choice = choose(name, candidates, before, now_ns)
    if before is None or choice.record.data != before.data:
        known.note(choice.record)
    same = tuple(item.place for item in candidates if item.record.data == choice.record.data)
    return Resolved(choice.record, same, (*problems, *choice.warnings))


def ask(name: Name, places: Sequence[NamePlace]) -> tuple[list[Candidate], list[str]]:
    """What each place gave, checked but for the clock; and of the others, what is wrong with them."""
    candidates: list[Candidate] = []
    problems: list[str] = []
    with ThreadPoolExecutor(min(len(places), MAX_THREADS) or 1, thread_name_prefix="holdfast-name") as pool:
        for place, found in zip(places, pool.map(lambda place: _ask(place, name), places), strict=True):
            if isinstance(found, Record):
                candidates.append(Candidate(place.name, found))
            else:
                problems.append(f"{place.name}: {found}")
    return candidates, problems


def _ask(place: NamePlace, name: Name) -> Record | str:
    """What it gave, checked; or what is wrong with it."""
    try:
        data = place.get(name)
        return read_record(name, data) if data is not None else "it has no record of this name"
    except HoldfastError as error:
        return error.message

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
    asked = ask(name, places)
    if not asked.candidates and before is None:
        raise UnavailableError(
            f"no place knows where {name.short()} points: {'; '.join(asked.problems)}",
            hint="ask more places (--from URL)",
        )
    choice = choose(name, asked.candidates, before, now_ns)
    if before is None or choice.record.data != before.data:
        known.note(choice.record)
    same = tuple(item.place for item in asked.candidates if item.record.data == choice.record.data)
    return Resolved(choice.record, same, (*asked.problems, *choice.warnings))


@dataclass(frozen=True, slots=True)
class Asked:
    """What all places gave: records, checked but for the clock; who has none; and what is wrong with the others."""

    candidates: tuple[Candidate, ...]
    absent: tuple[str, ...]
    errors: tuple[str, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence for each place that gave no record."""
        return (*(f"{place}: it has no record of this name" for place in self.absent), *self.errors)


def ask(name: Name, places: Sequence[NamePlace]) -> Asked:
    """Ask all at once, within the deadline of the slowest."""
    candidates: list[Candidate] = []
    absent: list[str] = []
    errors: list[str] = []
    with ThreadPoolExecutor(min(len(places), MAX_THREADS) or 1, thread_name_prefix="holdfast-name") as pool:
        for place, found in zip(places, pool.map(lambda place: _ask(place, name), places), strict=True):
            if isinstance(found, Record):
                candidates.append(Candidate(place.name, found))
            elif found is None:
                absent.append(place.name)
            else:
                errors.append(f"{place.name}: {found}")
    return Asked(tuple(candidates), tuple(absent), tuple(errors))


def _ask(place: NamePlace, name: Name) -> Record | str | None:
    """What it gave, checked; None if it has nothing; or what is wrong with it."""
    try:
        data = place.get(name)
        return None if data is None else read_record(name, data)
    except HoldfastError as error:
        return error.message

"""`choose`: which of several records of a name to follow. Pure: the clock and what was seen before are arguments.

Specification: specs.ipfs.tech/ipns/ipns-record ("Record Selection"): the highest sequence, then the latest validity.
On top of it, as python-tuf does for its metadata:

* rollback: a record older than one seen before never counts, however many places give it;
* freeze: a record past its end does not count, and it is an error when there is no other;
* a record signed in the future does not count: whoever holds the key has a wrong clock, or means to outlive a later
  one;
* the clocks of publisher and reader may differ by `SKEW_NS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import StaleNameError
from ..printable import printable
from .moment import S, format_moment
from .name import Name
from .record import Record

SKEW_NS = 5 * 60 * S


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record, and the place that gave it."""

    place: str
    record: Record


@dataclass(frozen=True, slots=True)
class Choice:
    """The record to follow, and what was wrong with others: one sentence each, naming the place."""

    record: Record
    warnings: tuple[str, ...] = ()


def choose(name: Name, found: Sequence[Candidate], known: Record | None, now_ns: int) -> Choice:
    """The best record that counts now, `known` (the highest seen before) included.

    Raises `StaleNameError` when there is none, saying of each why. `found` and `known` may not both be empty.
    """
    if not found and known is None:
        raise ValueError("nothing to choose from")
    warnings = []
    usable = []
    for candidate in found:
        fault = _fault(candidate.record, known, now_ns)
        if fault:
            warnings.append(f"{candidate.place}: {fault}")
        else:
            usable.append(candidate.record)
    if known is not None and not _fault(known, None, now_ns):
        usable.append(known)
    if not usable:
        said = warnings or [f"the record seen before: {_fault(known, None, now_ns)}" if known else ""]
        raise StaleNameError(
            f"no record of {name.short()} counts now: {'; '.join(said)}",
            hint="ask its publisher to sign it again (`holdfast name watch` does); a root (ipfs://…) needs no name",
        )
    best = max(usable, key=rank)
    twins = {record.value for record in usable if record.sequence == best.sequence} - {best.value}
    warnings += [
        f"the key of {name.short()} signed sequence {best.sequence} twice, also for {printable(twin)}" for twin in twins
    ]
    return Choice(best, tuple(warnings))


def rank(record: Record) -> tuple[int, int, bytes]:
    """Records in the order in which they replace each other; the bytes decide where nothing else does."""
    return record.sequence, record.validity_ns, record.data


def _fault(record: Record, known: Record | None, now_ns: int) -> str:
    """Why it does not count; "" when it does."""
    if known is not None and record.sequence < known.sequence:
        return f"an older version (sequence {record.sequence}; {known.sequence} was seen before)"
    if now_ns > record.validity_ns + SKEW_NS:
        return f"it ended on {format_moment(record.validity_ns)}"
    published = record.published_ns
    if published is not None and published > now_ns + SKEW_NS:
        return f"it was signed in the future, on {format_moment(published)} (is the clock here right?)"
    return ""

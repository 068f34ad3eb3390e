"""`account`: what each source did about something that could not be had, in words. Pure."""

from __future__ import annotations

from .planner import Planner
from .work import Want


def account(planner: Planner, want: Want) -> str:
    """Of every source one clause, in the order given."""
    return "; ".join(f"{name}: {_did(planner, want, name)}" for name in planner.scores)


def _did(planner: Planner, want: Want, name: str) -> str:
    """Its answer to this very request; what it said of the whole object; what it owes; else what it did last."""
    if words := want.tried.get(name) or planner.lacks.words.get((name, want.key[0])):
        return words
    for flight in planner.flights.values():
        if flight.source == name and flight.object == want.key[0] and flight.first <= want.key[1] < flight.last:
            return "its answer did not come to an end" if flight.received else "asked, and no answer came"
    last = planner.scores[name].last
    return f"not asked for this; its last answer: {last}" if last else "not asked"

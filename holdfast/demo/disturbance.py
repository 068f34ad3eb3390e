"""The events of the second run: at which step what happens to whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .faults.behaviour import Behaviour
from .faults.server import FaultServer
from .meter import Meter
from .peers import PeerProcess

LIE = Behaviour("WRONG_BYTES", "one-bit")


@dataclass(frozen=True, slots=True)
class Event:
    """At `step`, `act` is called; `label` names it in the report."""

    step: int
    label: str
    act: Callable[[], None]


def events(steps: int, alice: PeerProcess, bob: FaultServer, carol: PeerProcess) -> list[Event]:
    """At a quarter alice is killed, at half bob lies, at three quarters alice is back and carol is killed."""

    def swap() -> None:
        alice.start()
        carol.kill()

    return [
        Event(steps // 4, f"{alice.name} is killed", alice.kill),
        Event(steps // 2, "bob sends wrong bytes", lambda: bob.play(LIE)),
        Event(3 * steps // 4, f"{alice.name} is back, {carol.name} is killed", swap),
    ]


class Disturber:
    """Calls the events when their step comes, and marks them."""

    def __init__(self, planned: list[Event], meter: Meter) -> None:
        self._planned, self._meter = planned, meter

    def at(self, step: int) -> None:
        """Every event that is due."""
        while self._planned and step >= self._planned[0].step:
            event = self._planned.pop(0)
            event.act()
            self._meter.mark(event.label, step)

"""`Goal`: one figure that holdfast promises, and how far it is from it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass
class Goal:
    """`runs`: the figure of each round. `at_least`: whether more is better."""

    name: str
    goal: float
    at_least: bool = True
    unit: str = ""
    runs: list[float] = field(default_factory=list)
    detail: str = ""

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.runs)

    @property
    def met(self) -> bool:
        """Whether the median keeps the promise."""
        return self.value >= self.goal if self.at_least else self.value <= self.goal

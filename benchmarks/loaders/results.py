"""`results/loaders.json`: what was measured, merged run by run: a later run of a row replaces the earlier one."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..goal import Goal

PATH = Path(__file__).resolve().parents[1] / "results" / "loaders.json"


def now() -> str:
    """To the minute."""
    return time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime())


@dataclass
class Row:
    """One loader in one cell; a run is a dict of figures, or of `problem`."""

    cell: str
    loader: str
    scale: float
    samples: int
    bytes: int
    at: str = ""  # of the last run
    runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def good(self) -> list[dict[str, Any]]:
        """Runs that came to their end with everything."""
        return [run for run in self.runs if not run["problem"]]

    def figures(self, name: str) -> list[float]:
        """One figure of each good run that has it: an older file may lack a newer one."""
        return [float(run[name]) for run in self.good if name in run]

    def median(self, name: str) -> float | None:
        """Of the good runs that have it; None if fewer than half of the runs were good."""
        found = self.figures(name)
        return statistics.median(found) if found and 2 * len(self.good) >= len(self.runs) else None

    @property
    def rate(self) -> float | None:
        """Samples a second, at the median."""
        seconds = self.median("epoch_s")
        return self.samples / seconds if seconds else None


class Results:
    """The file, in memory."""

    def __init__(self, path: Path = PATH) -> None:
        self._path = path
        document = json.loads(path.read_text()) if path.exists() else {}
        self.about: dict[str, Any] = document.get("about", {})
        self.rows = {(row["cell"], row["loader"]): Row(**row) for row in document.get("rows", [])}
        self.tables: dict[str, list[dict[str, Any]]] = document.get("tables", {})
        self.goals: dict[str, dict[str, Any]] = {goal["name"]: goal for goal in document.get("goals", [])}

    def put_goal(self, goal: Goal) -> None:
        """Instead of what was measured of it before."""
        self.goals[goal.name] = asdict(goal) | {"value": goal.value, "met": goal.met}

    def put(self, row: Row) -> None:
        """Instead of what this row said before."""
        self.rows[row.cell, row.loader] = row

    def get(self, cell: str, loader: str) -> Row | None:
        """None: not measured."""
        return self.rows.get((cell, loader))

    def of_cell(self, cell: str) -> list[Row]:
        """All rows of a cell."""
        return [row for row in self.rows.values() if row.cell == cell]

    @property
    def empty(self) -> bool:
        """Whether nothing was ever measured."""
        return not (self.rows or self.tables or self.goals)

    def save(self, about: dict[str, Any]) -> None:
        """With the versions and the machine of the last run."""
        self.about = {**about, "at": now()}
        document = {
            "about": self.about,
            "goals": list(self.goals.values()),
            "tables": self.tables,
            "rows": [asdict(row) for row in self.rows.values()],
        }
        self._path.parent.mkdir(exist_ok=True)
        beside = self._path.with_suffix(".part")
        beside.write_text(json.dumps(document, indent=1) + "\n")
        beside.replace(self._path)

"""`Setting`: what a goal is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Setting:
    """`work`: an empty folder; `scale`: of the sizes, 1 or less; `rounds`: how often; `say`: progress."""

    work: Path
    scale: float
    rounds: int
    say: Callable[[str], None]

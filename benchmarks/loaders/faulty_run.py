"""One process of `faulty_epoch`, by the interpreter of a peer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from .environments import child_environment, python_of
from .job import Job
from .process import watch


def run(job: Job, peer: str, work: Path, cap_s: float) -> dict[str, Any]:
    """One process; what it said last."""
    home = work / "home"
    home.mkdir(exist_ok=True)
    command = [str(python_of(peer)), "-m", "benchmarks.loaders.faulty_epoch", job.to_json()]
    done = watch(command, child_environment(home), cap_s, home)
    shutil.rmtree(home, ignore_errors=True)
    said = done.said or {"good": 0, "wrong": 0, "missing": job.samples, "error": "", "typed": False, "seconds": 0}
    if done.problem:
        said |= {"capped": done.seconds >= cap_s, "error": done.problem, "seconds": round(done.seconds, 1)}
    return said

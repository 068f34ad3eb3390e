"""Interleaved rounds over the cells of one corpus: every loader once a round, in an order drawn anew."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..measure import hash_files
from ..nginx import nginx
from ..ready_memory import ReadyMemory
from . import cells
from .cells import Cell, Loader
from .environments import PACKAGES, child_environment, python_of
from .job import IMAGE_BYTES, SEQ_LEN, TEXT_CHARS
from .materials import Material
from .process import ENDED, watch
from .results import Results, Row, now

Say = Callable[[str], None]
_RUN_BYTES = 5 << 30  # what the greediest run uses: 2 GB of cache, and memory
_ALWAYS = 2  # rounds in which all are measured
_CONTENDER = 2.0  # who took longer than so many times the fastest peer's time in these is not measured again
_BYTES = {"images": IMAGE_BYTES, "text": TEXT_CHARS, "tokens": 2 * SEQ_LEN}


@dataclass(frozen=True)
class Plan:
    """What a call of the command asks for. `scale`: of the sizes; `cap_s`: when a run is ended; `contenders`: whether
    peers that cannot be the fastest are left out of the later rounds.
    """

    only: re.Pattern[str]
    rounds: int
    scale: float
    cap_s: float
    contenders: bool = False


def measure(material: Material, plan: Plan, work: Path, results: Results, save: Callable[[], None]) -> None:
    """All cells of a corpus; rows of this call begin empty, and are saved after each cell."""
    fresh: dict[tuple[str, str], Row] = {}
    held = int(_RUN_BYTES * max(plan.scale, 0.1))
    with nginx(material.served, work / "nginx") as host, ReadyMemory(held) as ready:
        for number in range(plan.rounds + 1):  # memory is measured first, in a round that is not timed
            for cell in cells.cells(material.corpus):
                found = cells.wanted(cell, plan.only)
                loaders = list(dict.fromkeys(found["cold"] + found["warm"]))
                if number > 1:
                    loaders = [loader for loader in loaders if not _too_slow(loader, cell, found, fresh)]
                if plan.contenders and number > _ALWAYS:
                    loaders = [loader for loader in loaders if _contends(loader, cell, found, fresh)]
                random.Random(number).shuffle(loaders)
                for loader in loaders:
                    runs = _pair(
                        loader, cell, material, host.url, plan, work / "cache", found, ready, memory=not number
                    )
                    for state, run in runs.items():
                        _keep(fresh, results, cell.name(state), loader.name, run, material, plan)
                        say(f"round {number}: {cell.name(state)}: {loader.name}: {_short(run)}")
                name = f"{cell.name('cold')}: {cells.BY_HAND}"
                if number and material.corpus == "images" and plan.only.search(name):
                    run = _by_hand(material, host.url, work / "curl", ready)
                    _keep(fresh, results, cell.name("cold"), cells.BY_HAND, run, material, plan)
                    say(f"round {number}: {name}: {_short(run)}")
                save()


def _too_slow(loader: Loader, cell: Cell, found: dict[str, list[Loader]], fresh: dict[tuple[str, str], Row]) -> bool:
    """Whether a timed round ended it at the cap, cold and warm: that it takes longer is known by then."""
    rows = [fresh[cell.name(state), loader.name] for state, loaders in found.items() if loader in loaders]
    return all(row.runs[-1]["problem"].startswith(ENDED) for row in rows)


def _contends(loader: Loader, cell: Cell, found: dict[str, list[Loader]], fresh: dict[tuple[str, str], Row]) -> bool:
    """Whether it may be the fastest peer of the cell, cold or warm. Ours is always measured, and so are floors."""
    if loader.peer not in PACKAGES:
        return True
    for state, rows in found.items():
        best = {
            row: min(fresh[cell.name(state), row.name].figures("epoch_s"), default=float("inf"))
            for row in rows
            if row.peer in PACKAGES
        }
        if loader in best and best[loader] < float("inf") and best[loader] <= _CONTENDER * min(best.values()):
            return True
    return False


def _pair(
    loader: Loader,
    cell: Cell,
    material: Material,
    url: str,
    plan: Plan,
    cache: Path,
    found: dict[str, list[Loader]],
    ready: ReadyMemory,
    *,
    memory: bool,
) -> dict[str, dict[str, Any]]:
    """A cold epoch and then, in a second process on the same cache, a warm one."""
    runs: dict[str, dict[str, Any]] = {}
    shutil.rmtree(cache, ignore_errors=True)
    filling = loader if loader.cold else replace(loader, name=cells.OURS)
    job = cells.job(loader, cell, material, url, cache)
    if loader in found["cold"] or loader.name != "numpy memmap":
        cold = _run(filling, replace(job, loader=filling.name.replace(",", "")), material, plan, ready, memory=memory)
        if loader in found["cold"]:
            runs["cold"] = cold
    if loader in found["warm"]:
        runs["warm"] = _run(loader, job, material, plan, ready, memory=memory)
    shutil.rmtree(cache, ignore_errors=True)
    return runs


def _run(
    loader: Loader, job: Any, material: Material, plan: Plan, ready: ReadyMemory, *, memory: bool
) -> dict[str, Any]:
    command = [str(python_of(loader.peer)), "-m", "benchmarks.loaders.epoch", job.to_json()]
    home = Path(job.cache).parent / "home"
    home.mkdir(exist_ok=True)
    with ready.lend():
        done = watch(command, child_environment(home), plan.cap_s, home, memory=memory)
    shutil.rmtree(home, ignore_errors=True)
    if memory:
        return {"problem": done.problem, "peak_pss": done.peak_pss, "peak_anonymous": done.peak_anonymous}
    run: dict[str, Any] = {"problem": done.problem}
    run |= {"cpu_s": round(done.cpu_s, 3), "load_1min": round(os.getloadavg()[0], 2)}
    if done.said is not None:
        run |= {name: round(value, 4) for name, value in done.said.items()}
        run["cpu_s"] = round(done.cpu_s - done.said["cpu_before_s"], 3)
        if not done.problem and {run["samples"], run["distinct"]} != {material.samples}:
            run["problem"] = f"{run['samples']} samples, {run['distinct']} of them different"
        if not run["problem"]:
            material.digest = run["digest"] if material.digest is None else material.digest
            run["problem"] = "" if run["digest"] == material.digest else "other content than the other loaders"
    return run


def _by_hand(material: Material, url: str, folder: Path, ready: ReadyMemory) -> dict[str, Any]:
    """What a careful person does: curl into files, then one sha256 pass."""
    folder.mkdir()
    below = material.folder("wds")
    names = sorted(path.name for path in (material.served / below).iterdir())
    pairs = [part for name in names for part in ("-o", str(folder / name), f"{url}/{below}/{name}")]
    with ready.lend():
        started = time.perf_counter()
        subprocess.run(["curl", "-sS", "--fail", *pairs], check=True)
        hash_files(folder / name for name in names)
        seconds = time.perf_counter() - started
    shutil.rmtree(folder)
    return {
        "problem": "",
        "epoch_s": round(seconds, 4),
        "first_s": round(seconds, 4),
        "cpu_s": 0.0,
    }


def _keep(
    fresh: dict[tuple[str, str], Row], results: Results, cell: str, loader: str, run: dict[str, Any],
    material: Material, plan: Plan,
) -> None:  # fmt: skip
    size = material.samples * _BYTES[material.corpus]
    row = fresh.setdefault((cell, loader), Row(cell, loader, plan.scale, material.samples, size))
    row.runs.append(run)
    row.at = now()
    results.put(row)


def _short(run: dict[str, Any]) -> str:
    if run["problem"]:
        return str(run["problem"])
    if "peak_pss" in run:
        return f"{run['peak_pss'] / 1e6:.0f} MB"
    return f"{run['epoch_s']:.2f} s, first batch {run['first_s']:.2f} s"


def say(text: str) -> None:
    """Progress goes to standard error."""
    print(text, file=sys.stderr, flush=True)

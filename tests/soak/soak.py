"""One soak: everything started, disturbed for so long, and judged."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import fetchers

from .chaos import Chaos
from .hosts import TESTS
from .housework import Housework
from .vitals import MAX_DESCRIPTOR_GAIN, MAX_MEMORY_GAIN, Trend, Vitals
from .world import MIB, World, make_world

_LAST_EPOCH_S = 300.0
_LEAST_PASSES = 3  # however short the run, and a round of everything that goes on beside it
_LEAST_LIMIT_S = 90.0
_CACHE_PART = 3  # the cache holds a third of the dataset


@dataclass
class Result:
    """What was seen. `wrong`: everything that must not happen, in words."""

    seed: int
    seconds: float = 0.0
    epochs: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    chaos: Counter[tuple[str, str]] = field(default_factory=Counter)
    housework: Counter[str] = field(default_factory=Counter)
    lies: int = 0
    caught: int = 0
    vitals: list[Vitals] = field(default_factory=list)
    events: list[tuple[float, str]] = field(default_factory=list)

    def total(self, what: str) -> int:
        """A sum over all epochs."""
        return sum(int(epoch[what]) for epoch in self.epochs)

    def trends(self) -> dict[str, tuple[Trend | None, Trend | None]]:
        """Memory and descriptors of each process that was watched."""
        return {vitals.name: (vitals.trend(vitals.memory), vitals.trend(vitals.descriptors)) for vitals in self.vitals}

    def not_flat(self) -> list[str]:
        """Who grows."""
        found = []
        for name, trends in self.trends().items():
            for trend, what, allowance in zip(
                trends, ("memory", "descriptors"), (MAX_MEMORY_GAIN, MAX_DESCRIPTOR_GAIN), strict=True
            ):
                if trend is not None and not trend.is_flat(allowance):
                    found.append(f"{what} of the {name} grew by {trend.gain:.0f}, more than {allowance:.0f}")
        return found

    @property
    def ok(self) -> bool:
        """Whether every promise held."""
        kinds = ("wrong", "missing", "doubled", "misplaced")
        return bool(self.epochs) and not self.wrong and not any(map(self.total, kinds)) and not self.not_flat()


def soak(seconds: float, *, mib: int, seed: int, reading_s: float, say: Callable[[str], None]) -> Result:
    """Run for so long, and to the end of the epoch then under way."""
    result = Result(seed)
    with tempfile.TemporaryDirectory(prefix="holdfast-soak-") as folder:
        world = make_world(Path(folder), mib, seed)
        say(f"{len(world.reference)} samples of {world.root} at {len(world.hosts)} hosts")
        try:
            _run(world, result, seconds, mib, reading_s, say)
        finally:
            world.stop()
    return result


def _run(world: World, result: Result, seconds: float, mib: int, reading_s: float, say: Callable[[str], None]) -> None:
    started = time.monotonic()

    def note(event: str) -> None:
        result.events.append((time.monotonic() - started, event))

    trainer = _start_trainer(world, result.seed, mib)
    reader = threading.Thread(target=_read_epochs, args=(trainer, result, say), daemon=True)
    reader.start()
    housework = Housework(world, result.seed + 1, pause_s=min(2.0, seconds / 60))
    training, serving = Vitals("trainer and its workers"), Vitals("peer that is never killed")
    fetching, cache = Vitals("fetcher of the workers"), world.place / "cache"
    result.vitals += [training, serving, fetching]
    with Chaos([*world.hosts, world.origin], result.seed, note) as chaos:
        with housework:
            while trainer.poll() is None:
                elapsed = time.monotonic() - started
                enough = housework.rounds >= 1 and len(result.epochs) >= _LEAST_PASSES and bool(chaos.counts)
                if elapsed >= seconds and (enough or elapsed >= _LEAST_LIMIT_S):
                    break
                training.read(trainer.pid, started)
                serving.read(world.steady.pid, started)
                for pid in fetchers.processes(cache):
                    fetching.read(pid, started)
                reader.join(timeout=reading_s)
            assert trainer.stdin is not None
            trainer.stdin.close()
            try:
                trainer.wait(timeout=_LAST_EPOCH_S)
            except subprocess.TimeoutExpired:
                result.wrong.append(f"the last epoch did not end within {_LAST_EPOCH_S:.0f} s")
                trainer.kill()
                trainer.wait()
    result.seconds = time.monotonic() - started
    reader.join()
    if trainer.returncode:
        result.wrong.append(f"the trainer ended with {trainer.returncode}: {(world.place / 'trainer.log').read_text()}")
    housework.settle()
    _blame(world, result)
    result.wrong += chaos.wrong + housework.wrong
    result.chaos, result.housework, result.lies = chaos.counts, housework.counts, world.lies()


def _start_trainer(world: World, seed: int, mib: int) -> subprocess.Popen[str]:
    config = {
        "uri": world.root, "sources": [host.url for host in world.hosts], "seed": seed, "reference": world.reference,
        "cache": str(world.place / "cache"), "cache_bytes": mib * MIB // _CACHE_PART, "prefetch_bytes": 8 * MIB,
    }  # fmt: skip
    path = world.place / "trainer.json"
    path.write_text(json.dumps(config))
    with (world.place / "trainer.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "soak.trainer", str(path)], cwd=TESTS, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip


def _read_epochs(trainer: subprocess.Popen[str], result: Result, say: Callable[[str], None]) -> None:
    assert trainer.stdout is not None
    with trainer.stdout:
        for line in trainer.stdout:
            epoch = json.loads(line)
            result.epochs.append(epoch)
            if epoch["epoch"] % 20 == 0:
                say(str(epoch))


def _blame(world: World, result: Result) -> None:
    """The trainer blames liars only: by the evidence it kept, and by what its new readers counted."""
    sound = tuple(f"{host.url}/" for host in world.hosts if host.honest)
    for epoch in result.epochs:
        for url, count in epoch.get("blamed", {}).items():
            result.caught += count
            if f"{url}/".startswith(sound):
                result.wrong.append(f"a new reader blames {url}, which is honest, in epoch {epoch['epoch']}")
    for path in (world.place / "cache" / "evidence").glob("*.json"):
        result.caught += 1
        about = json.loads(path.read_text())
        if f"{about['url']}/".startswith(sound):
            result.wrong.append(f"the trainer blames {about['url']}, which is honest: {about}")

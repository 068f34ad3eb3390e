"""A process of its own that is attacked: what came of it, the memory it took at its worst, and how long it took.

`python -m support.victim` reads a job a line and answers a line; `Victim` starts it and asks.
"""

from __future__ import annotations

import ast
import ctypes
import gc
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from holdfast.storage.limits import MAX_BLOCK_BYTES, MIB, TransferLimits

TESTS = Path(__file__).parents[1]
WINDOW = 8  # requests in flight at once
PEAK_BYTES = WINDOW * MAX_BLOCK_BYTES + 64 * MIB
END_S = 20.0  # the end of an attacked run whose deadline is 10 s at most: deadlines are kept, on a loaded machine too
QUICK = {"grace_s": 0.4, "first_byte_s": 0.6, "max_request_s": 3.0}  # limits of one transfer, for tests


def python_path() -> str:
    """For child processes: `support`, before what this process was given."""
    return os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))


@dataclass(frozen=True)
class Outcome:
    """`error`: the name of the class, empty if there was none. `sources`: by URL, as in `SourceStats`."""

    error: str
    message: str
    sources: dict[str, dict[str, Any]]
    seconds: float
    peak_bytes: int
    value: Any = None

    def verdicts(self, url: str) -> set[str]:
        return set(self.sources[url]["verdicts"]) - {"OK"}


class Victim:
    """A context manager. `cache`: where evidence and the loader's cache go."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache

    def __enter__(self) -> Victim:
        env = {**os.environ, "PYTHONPATH": python_path(), "XDG_CACHE_HOME": str(self.cache)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.victim"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    @property
    def training(self) -> Path:
        """The cache of `train`."""
        return self.cache / "train"

    def get(
        self,
        uri: object,
        dest: Path,
        sources: Sequence[str],
        deadline_s: float = 5.0,
        *,
        options: Mapping[str, Any] | None = None,
        **policy: Any,
    ) -> Outcome:
        """`options`: more arguments of `get`. `value`: the files and links of the result."""
        said = {"uri": str(uri), "dest": str(dest), "sources": sources, "options": options or {}}
        return self._ask("get", **said, deadline_s=deadline_s, policy=policy)

    def train(
        self,
        uri: object,
        sources: Sequence[str],
        deadline_s: float = 5.0,
        *,
        options: Mapping[str, Any] | None = None,
        samples: int | None = None,
        **policy: Any,
    ) -> Outcome:
        """`options`: more arguments of the dataset. `samples`: stop after so many.

        `value`: for each sample, in order, the hash of what was delivered; see also `delivered`.
        """
        said = {"uri": str(uri), "sources": sources, "options": options or {}, "samples": samples, "shown": False}
        return self._ask("train", **said, cache=str(self.training), deadline_s=deadline_s, policy=policy)

    def delivered(
        self, uri: object, sources: Sequence[str], deadline_s: float = 5.0, *, options: Mapping[str, Any] | None = None
    ) -> Outcome:
        """`train` of samples of plain Python values, with the samples themselves as `value`."""
        said = {"uri": str(uri), "sources": sources, "options": options or {}, "samples": None, "shown": True}
        outcome = self._ask("train", **said, cache=str(self.training), deadline_s=deadline_s, policy={})
        return replace(outcome, value=[ast.literal_eval(sample) for sample in outcome.value or []])

    def call(self, name: str, **arguments: Any) -> Outcome:
        """A function of `support.attacked` by name."""
        return self._ask("call", name=name, arguments=arguments)

    def _ask(self, job: str, **arguments: Any) -> Outcome:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([job, arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the victim died"
        return Outcome(**json.loads(line))


def _policy(deadline_s: float, options: dict[str, Any]) -> Any:
    from holdfast.storage.fetch.policy import FetchPolicy

    limits = TransferLimits(**{**QUICK, **options.pop("transfer", {})})
    return FetchPolicy(progress_deadline_s=deadline_s, transfer=limits, **options)


def _stats(found: list[Any]) -> dict[str, dict[str, Any]]:
    return {
        one.url: {"wrong": one.wrong, "state": str(one.state), "verdicts": one.verdicts, "bytes": one.bytes}
        for one in found
    }


def _get(said: dict[str, Any]) -> Any:
    from holdfast.storage import get as module
    from holdfast.storage.fetch import engine

    policy = _policy(said["deadline_s"], said["policy"])
    module.user_policy = lambda _=None: policy  # type: ignore[assignment]
    engines: list[Any] = []
    start = engine.FetchEngine.start
    engine.FetchEngine.start = lambda self: (engines.append(self), start(self))[1]  # type: ignore[method-assign]
    try:
        options = said["options"]
        found = module.get(said["uri"], said["dest"], sources=said["sources"], deadline_s=said["deadline_s"], **options)
    finally:
        engine.FetchEngine.start = start  # type: ignore[method-assign]
        said["stats"] = _stats(engines[0].stats()) if engines else {}
    return {"files": found.files, "links": found.links}


def _train(said: dict[str, Any]) -> Any:
    from holdfast import StreamingDataset
    from holdfast.loaders import dataset as module

    policy = _policy(said["deadline_s"], said["policy"])
    module.user_policy = lambda _=None: policy  # type: ignore[assignment]
    dataset = StreamingDataset(said["uri"], sources=said["sources"], cache=said["cache"], **said["options"])
    try:
        found = [repr(sample) for sample in islice(dataset, said["samples"])]
        return found if said["shown"] else [hashlib.sha256(text.encode()).hexdigest() for text in found]
    finally:
        said["stats"] = _stats(dataset.stats().sources)
        dataset.close()


def _call(said: dict[str, Any]) -> Any:
    from support import attacked

    return getattr(attacked, said["name"])(**said["arguments"])


_JOBS: dict[str, Callable[[dict[str, Any]], Any]] = {"get": _get, "train": _train, "call": _call}


def _memory() -> dict[str, int]:
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {parts[0]: int(parts[1]) * 1024 for parts in lines if parts[0] in ("VmRSS:", "VmHWM:")}


def main() -> None:
    import holdfast.storage.get

    for line in sys.stdin:
        job, said = json.loads(line)
        if job == "train":
            import holdfast.loaders.dataset  # noqa: F401
        if job == "call":
            import support.attacked  # noqa: F401
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts from here
        before, started = _memory()["VmRSS:"], time.monotonic()
        error = message = ""
        value = None
        try:
            value = _JOBS[job](said)
        except Exception as failure:
            error, message = type(failure).__name__, str(failure)
        seconds, peak = time.monotonic() - started, _memory()["VmHWM:"] - before
        answer = [error, message, said.pop("stats", {}), seconds, peak, value]
        print(json.dumps(dict(zip(Outcome.__dataclass_fields__, answer, strict=True))), flush=True)


if __name__ == "__main__":
    main()

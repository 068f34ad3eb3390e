"""What the goals share: a published dataset, its CAR, fresh Kubos, and the clock."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.storage.blocks.car_file import export_car
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID
from support.kubo import DAEMONS, Kubo

from ..ready_memory import ReadyMemory

SHARD_BYTES = 64 << 20
_ROUTED = {"Routing.Type": "delegated", "Provide.Enabled": False}
_ALONE = {"Routing.Type": "none", "Provide.Enabled": False}


@dataclass(frozen=True)
class Setting:
    """`shards` files of 64 MiB in `source`, published into `repo` as `root`, and the same blocks in `car`.

    `inputs`: in memory; `work`: for repositories of Kubos, in memory too, so that no disk is measured.
    """

    source: Path
    repo: Path
    car: Path
    root: CID
    bytes: int
    work: Path
    rounds: int
    memory: ReadyMemory
    say: Callable[[str], None]

    @contextmanager
    def kubo(self, *routers: str) -> Iterator[Kubo]:
        """A fresh one, which asks these routers, or nobody."""
        folder = self.work / f"kubo-{time.monotonic_ns()}"
        config: dict[str, object] = dict(_ROUTED, **{"Routing.DelegatedRouters": list(routers)}) if routers else _ALONE
        try:
            with Kubo(folder, config) as kubo:
                yield kubo
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def holdfast(self, *arguments: object) -> dict[str, Any]:
        """Our command, Python's start included; what it says."""
        command = [sys.executable, "-m", "holdfast", *map(str, arguments), "--json"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def timed(run: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def published(source: Path, repo: Path, car: Path, name: str = "bench") -> CID:
    """A folder of token shards, in a repository and as a CAR."""
    from holdfast.pipeline.publish import publish

    root = publish(source, name=name, repo=repo, format="tokens", dtype="uint16").root
    with DiskStore(repo).open(create=False) as store:
        export_car(store, root, car)
    return root


def there() -> bool:
    """Whether `make daemons` has built what is needed."""
    return (DAEMONS / "ipfs").is_file()

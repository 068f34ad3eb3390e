"""How much slower publishing a folder of tars is than a plain sha256 pass over it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from holdfast import publish

from .measure import Run, Series, hash_files, hash_files_on_all_cores, interleave, timed

SECTION = "publish"
FLOOR = "floor: sha256 on all cores"


def bench_publish(
    source: Path, shards: list[Path], work: Path, rounds: int, say: Callable[[str], None]
) -> list[Series]:
    """Publish into a fresh repository, and again into the same one (nothing changed)."""
    size = sum(path.stat().st_size for path in shards)
    repo = work / "fresh"

    def fresh(series: Series) -> None:
        shutil.rmtree(repo, ignore_errors=True)
        timed(series, lambda: publish(source, name="bench", repo=repo))

    def again(series: Series) -> None:
        timed(series, lambda: publish(source, name="bench", repo=repo))

    rows: list[tuple[Series, Run]] = [
        (
            Series(SECTION, "read and sha256, one thread", size, floor=FLOOR),
            lambda s: timed(s, lambda: hash_files(shards)),
        ),
        (Series(SECTION, FLOOR, size), lambda s: timed(s, lambda: hash_files_on_all_cores(shards))),
        (Series(SECTION, "publish", size, floor=FLOOR), fresh),
        (Series(SECTION, "publish again, nothing changed", size, floor=FLOOR), again),
    ]
    return interleave(rows, rounds, say)

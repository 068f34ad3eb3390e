"""An index that names a file outside of the cache: does the loader write there?"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from holdfast.storage.manifest import HEAD_PATH

from .fault_host import FaultHost
from .faulty_run import run
from .job import Job
from .materials import Material
from .synthetic import Synthetic, serving

FAULT = "an index that names ../../outside"
_OUTSIDE = "../../outside.bin"


class _Hostile(Synthetic):
    """A dataset whose manifest names a shard so: a publisher who is out to do harm, for every hash is right."""

    def _keep(self, path: str, data: bytes) -> object:  # type: ignore[override]
        hostile = data if path == HEAD_PATH else data.replace(self.path(0).encode(), _OUTSIDE.encode())
        return super()._keep(path, hostile)


def measure(
    material: Material, work: Path, cap_s: float, only: re.Pattern[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """By name: what came, and the names of files `outside` of the cache."""
    for name, kind in (("mosaic", "mds"), ("litdata", "lit")):
        if only.search(f"{FAULT}: {name}"):
            yield name, _peer(name, kind, material, work, cap_s)
    if only.search(f"{FAULT}: holdfast"):
        dataset = _Hostile(1, 4 << 20, 1 << 20).build()
        with serving(dataset) as url:
            job = Job(
                "holdfast", "tokens", url, "", 0, shuffle=False, samples=1, batch=1,
                options={"uri": dataset.uri, "base": url},
            )  # fmt: skip
            yield "holdfast", _run(job, "ours", work, cap_s)


def _peer(name: str, kind: str, material: Material, work: Path, cap_s: float) -> dict[str, Any]:
    folder = material.served / material.folder(kind)
    index = folder / "index.json"
    right = index.read_text()
    document = json.loads(right)
    if kind == "mds":
        victim = document["shards"][3]["raw_data"]["basename"]
        document["shards"][3]["raw_data"]["basename"] = _OUTSIDE
    else:
        victim = document["chunks"][3]["filename"]
        document["chunks"][3]["filename"] = _OUTSIDE
    index.write_text(json.dumps(document))
    aliases = {Path(_OUTSIDE).name: f"{material.folder(kind)}/{victim}"}
    try:
        with FaultHost(material.served, aliases=aliases).serving() as host:
            options = {"folder": material.folder(kind)}
            job = Job(
                name, "images", host.url, "", 0, shuffle=False, samples=material.samples, batch=1, options=options
            )
            return _run(job, name, work, cap_s)
    finally:
        index.write_text(right)


def _run(job: Job, peer: str, work: Path, cap_s: float) -> dict[str, Any]:
    place = work / "traversal"
    cache = place / "a" / "b" / "c" / "cache"
    cache.mkdir(parents=True)
    told = Job.from_json(job.to_json().replace('"cache": ""', f'"cache": "{cache}"'))
    found = run(told, peer, work, cap_s)
    outside = [path.name for path in place.rglob("*") if path.is_file() and cache not in path.parents]
    shutil.rmtree(place)
    return found | {"outside": ", ".join(outside)}

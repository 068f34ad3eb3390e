"""`python -m benchmarks.loaders.bad_input [--only PATTERN]`: what each loader does with faults of its one server.

80 samples in 8 shards or so, of which one has the fault; then a second run on the same cache, the server healed. Ours
must deliver no wrong sample, and miss none without a typed error. `results/bad_input.json` and `.md`.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..measure import in_memory, machine
from . import materials, traversal
from .environments import PEERS, prepare, versions
from .fault_host import FAULTS, FaultHost
from .faulty_run import run
from .job import Job
from .measuring import say
from .results import PATH

_SAMPLES, _SHARD_BYTES = 80, 1_000_000
_RESULTS = PATH.with_name("bad_input.json")


@dataclass(frozen=True)
class Subject:
    """A column. `victim`: how the path of the faulty object ends."""

    name: str
    peer: str
    kind: str
    victim: str
    options: tuple[tuple[str, str], ...] = ()


OURS = Subject("holdfast", "ours", "", "data/00003.tar")
OURS_TWO = Subject("holdfast, and a second source", "ours", "", "data/00003.tar")
SUBJECTS = (
    OURS,
    OURS_TWO,
    Subject("webdataset", "webdataset", "wds", "data/00003.tar"),
    Subject("webdataset cache_dir", "webdataset", "wds", "data/00003.tar"),
    Subject("mosaic", "mosaic", "mds", "shard.00003.mds"),
    Subject("mosaic sha256", "mosaic", "mds", "shard.00003.mds", (("validate_hash", "sha256"),)),
    Subject("litdata", "litdata", "lit", "chunk-0-3.bin"),
    Subject("datasets", "datasets", "pq", "00003.parquet"),
)


def main() -> None:
    """Every fault, every loader; results are merged into those of earlier calls."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loaders.bad_input", description=__doc__)
    parser.add_argument("--only", default="", help="a regular expression on “fault: loader”")
    parser.add_argument("--cap", type=float, default=60.0, metavar="SECONDS", help="a run that takes longer is ended")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    only = re.compile(options.only)
    document = json.loads(_RESULTS.read_text()) if _RESULTS.exists() else {"rows": {}}
    prepare(PEERS)
    with tempfile.TemporaryDirectory(prefix="holdfast-bad-", dir=in_memory(1 << 30)) as folder:
        work = Path(folder)
        served = work / "served"
        served.mkdir()
        kinds = ("wds", "mds", "lit", "pq")
        material = materials.make("images", _SAMPLES, served, work, kinds, say, shard_bytes=_SHARD_BYTES)
        for fault, subject in _wanted(only):
            found = _both_runs(fault, subject, material, work, options.cap)
            document["rows"].setdefault(fault, {})[subject.name] = found
            say(f"{fault}: {subject.name}: {_words(found[0])}; then, healed: {_words(found[1])}")
        for name, found in traversal.measure(material, work, options.cap, only):
            document["rows"].setdefault(traversal.FAULT, {})[name] = [found]
            say(f"{traversal.FAULT}: {name}: {_words(found)}")
    document["about"] = {**machine(), **versions()}
    _RESULTS.parent.mkdir(exist_ok=True)
    _RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    lines = _lines(document)
    _RESULTS.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def _wanted(only: re.Pattern[str]) -> Iterator[tuple[str, Subject]]:
    for fault in FAULTS:
        for subject in SUBJECTS:
            if only.search(f"{fault}: {subject.name}"):
                yield fault, subject


def _both_runs(
    fault: str, subject: Subject, material: materials.Material, work: Path, cap_s: float
) -> list[dict[str, Any]]:
    cache = work / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    found = []
    for now in (fault, ""):
        with (
            FaultHost(material.served, subject.victim, now).serving() as host,
            FaultHost(material.served).serving() as two,
        ):
            options: dict[str, Any] = {"folder": material.folder(subject.kind), **dict(subject.options)}
            if subject.peer == "ours":
                options["uri"] = material.uri
                options["more"] = [two.url] if subject is OURS_TWO else []
            job = Job(
                subject.name.replace(",", ""), "images", host.url, str(cache), 0, shuffle=False, samples=_SAMPLES,
                shards=material.shards.get(subject.kind, 0), batch=1, options=options,
            )  # fmt: skip
            found.append(run(job, subject.peer, work, cap_s))
    shutil.rmtree(cache, ignore_errors=True)
    return found


def _lines(document: dict[str, Any]) -> list[str]:
    about = ", ".join(f"{name} {value}" for name, value in document["about"].items())
    lines = ["# Faults of the server", "", f"Measured with: {about}.", ""]
    lines += ["| fault | loader | what came | the same cache, the server healed |", "|---|---|---|---|"]
    for fault, found in document["rows"].items():
        for name, runs in found.items():
            lines.append(f"| {fault} | {name} | {' | '.join(map(_words, runs))} |" + " |" * (2 - len(runs)))
    return [*lines, "", _verdict(document["rows"])]


def _verdict(rows: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """What was not measured is not met."""
    ours = {f"{fault}: {name}": runs for fault, found in rows.items() for name, runs in found.items() if "hold" in name}
    wanted = [f"{fault}: {one.name}" for fault in FAULTS for one in (OURS, OURS_TWO)] + [
        f"{traversal.FAULT}: {OURS.name}"
    ]
    broken = [name for name, runs in ours.items() if not all(map(_kept, runs))]
    missing = [name for name in wanted if name not in ours]
    said = [f"MISSED: {'; '.join(broken)}"] if broken else []
    said += [f"not measured: {len(missing)} of {len(wanted)}"] if missing else []
    return (
        f"Ours: nothing wrong, nothing missing without a typed error: {'; '.join(said) or f'met in all {len(wanted)}'}."
    )


def _words(found: dict[str, Any]) -> str:
    parts = [f"{found['good']} good"]
    if "outside" in found:
        parts.insert(0, f"**wrote {found['outside']} outside of its cache**" if found["outside"] else "nothing outside")
    if found["wrong"]:
        parts.append(f"**{found['wrong']} WRONG**")
    if found["missing"]:
        parts.append(f"{found['missing']} missing")
    if found.get("capped"):
        parts.append(f"**not ended after {found['seconds']:.0f} s**")
    elif found["error"]:
        parts.append(found["error"].replace("|", "\\|").replace("\n", " ")[:160])
    elif found["missing"]:
        parts.append("**no error**")
    return f"{', '.join(parts)}; {found['seconds']} s"


def _kept(found: dict[str, Any]) -> bool:
    return not found.get("outside") and found["wrong"] == 0 and (found["missing"] == 0 or found["typed"])


if __name__ == "__main__":
    main()

"""`python -m benchmarks.loaders.faulty_epoch JOB`, by a peer's interpreter: what a user gets from a faulty server.

Every sample is held against what it should be. Prints counts, the error, and whether holdfast gave it a type.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from .epoch import CLIENTS
from .job import IMAGE_BYTES, Job


def main() -> None:
    """One epoch, sample by sample, in order, in this process; the last line says what came."""
    job = Job.from_json(sys.argv[1])
    Path(job.cache).mkdir(parents=True, exist_ok=True)
    client = importlib.import_module(f".clients.{CLIENTS[job.loader.split()[0]]}", __package__)
    good = wrong = 0
    seen: set[int] = set()
    error, typed, started = "", False, time.perf_counter()

    def say() -> None:
        found = {"good": good, "wrong": wrong, "missing": job.samples - len(seen), "error": error, "typed": typed}
        print(json.dumps({**found, "seconds": round(time.perf_counter() - started, 1)}), flush=True)

    try:
        for content, numbers in client.batches(job):
            if numbers is None:  # tokens: nothing to be held against
                seen.add(len(seen))
                continue
            number = int(numbers[0])
            seen.add(number)
            right = np.random.default_rng(number).bytes(IMAGE_BYTES)
            same = content[0].numpy().tobytes() == right
            good, wrong = good + same, wrong + (not same)
            say()  # if the process is ended at the cap, this is what came
    except Exception as raised:  # noqa: BLE001 - it is what the user sees
        error = f"{type(raised).__name__}: {raised}"[:300]
        typed = type(raised).__module__.startswith("holdfast.")
    say()


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)

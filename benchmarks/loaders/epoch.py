"""`python -m benchmarks.loaders.epoch JOB`, by the interpreter of a peer: one epoch; prints one line of JSON."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

from .collate import Sums
from .job import Job, Outcome

# which client drives a loader, by the first word of its name
CLIENTS = {
    "holdfast": "ours",
    "webdataset": "wds",
    "mosaic": "mds",
    "litdata": "lit",
    "datasets": "hf",
    "numpy": "plain",
    "memory": "plain",
}


def main() -> None:
    """Import, then start the clock, then make the dataset."""
    job = Job.from_json(sys.argv[1])
    torch.set_num_threads(1)
    Path(job.cache).mkdir(parents=True, exist_ok=True)
    client = importlib.import_module(f".clients.{CLIENTS[job.loader.split()[0]]}", __package__)
    getattr(client, "prepare", lambda _: None)(job)
    sums, first, last, cpu = Sums(job.corpus), 0.0, 0.0, time.process_time()
    started = time.perf_counter()
    for batch in client.batches(job):
        sums.add(batch)
        last = time.perf_counter() - started
        first = first or last
    end = time.perf_counter() - started
    done = Outcome(first, last, end, sums.samples, sums.distinct, sums.bytes, sums.digest, cpu)
    getattr(client, "finish", lambda: None)()
    print(json.dumps(asdict(done)), flush=True)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # some loaders leave threads behind that an ordinary exit waits for

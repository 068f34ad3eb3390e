"""`python -m benchmarks.run [--quick] [--only SECTION]`: measure, print a table, keep the figures and a plot.

Everything runs on this machine: servers in processes of their own on free loopback ports, data in a temporary folder.
So client and servers share the cores, and files come out of the page cache. Rows of a section are interleaved; a
figure is the median, with the least and the greatest beside it. Figures of different machines do not compare; the
ratios to the floor of the same run do, roughly.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import asdict
from pathlib import Path

from holdfast import publish

from .corpora import SEQ_LEN, make_images, make_text, make_tokens
from .getting import bench_get
from .loading import Subject, bench_load
from .measure import Series, machine
from .plot import plot
from .publishing import bench_publish
from .table import print_table

RESULTS = Path(__file__).parent / "results"
SECTIONS = ("get", "load", "publish")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="Measure holdfast on this machine.")
    parser.add_argument("--quick", action="store_true", help="an eighth of the data, one round: is it alive?")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="this section only; again for more")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    sections = options.only or list(SECTIONS)
    about, started = machine(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        found = _measure(Path(folder), sections, quick=options.quick)
    print_table(found)
    document = {
        "machine": about,
        "quick": options.quick,
        "seconds": round(time.monotonic() - started, 1),
        "rows": [_row(series) for series in found],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps(document, indent=2) + "\n")
    plot(found, RESULTS / "latest.png")
    print(f"{document['seconds']} s; {RESULTS / 'latest.json'}, latest.png")


def _measure(work: Path, sections: list[str], *, quick: bool) -> list[Series]:
    scale, get_rounds, load_rounds = (8, 1, 1) if quick else (1, 5, 3)
    _say("making the inputs …")
    images = make_images(work / "images", 5_120 // scale)
    shards = sorted(images.iterdir())
    repo = work / "repo"
    found: list[Series] = []
    if "publish" in sections:
        found += bench_publish(images, shards, work, get_rounds, _say)
    published = publish(images, name="images", repo=repo)
    if "get" in sections:
        found += bench_get(published.uri, repo, shards, work, get_rounds, _say)
    if "load" in sections:
        subjects = [Subject("images", published.uri, shards, published.samples), *_more(work, repo, scale)]
        found += bench_load(subjects, repo, work, load_rounds, _say)
    return found


def _more(work: Path, repo: Path, scale: int) -> list[Subject]:
    text = make_text(work / "text", 40_960 // scale)
    rows = publish(text, name="text", repo=repo)
    tokens = make_tokens(work / "tokens", 40_000_000 // scale)
    stream = publish(tokens, name="tokens", repo=repo, format="tokens", dtype="uint16")
    return [
        Subject("text", rows.uri, sorted(text.iterdir()), rows.samples),
        Subject("tokens", stream.uri, sorted(tokens.iterdir()), (stream.samples - 1) // SEQ_LEN, SEQ_LEN),
    ]


def _row(series: Series) -> dict[str, object]:
    row = asdict(series)
    row["mb_s"] = round(series.mb_s, 1)
    if series.samples:
        row["samples_s"] = round(series.samples_s)
    if series.first_s:
        row["first_batch_s"] = round(statistics.median(series.first_s), 3)
    return row


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

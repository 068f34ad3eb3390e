"""Servers in processes of their own: a holdfast peer, and a plain static host."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def peer(repo: Path) -> Iterator[str]:
    """`holdfast serve` on a free port; yields its URL."""
    with _running("-m", "holdfast", "serve", "--repo", str(repo), "--listen", "127.0.0.1:0", "--json") as url:
        yield url


@contextmanager
def peer_process(repo: Path) -> Iterator[tuple[str, int]]:
    """`peer`, with the id of its process."""
    with _process("-m", "holdfast", "serve", "--repo", str(repo), "--listen", "127.0.0.1:0", "--json") as (url, pid):
        yield url, pid


@contextmanager
def static_host(folder: Path) -> Iterator[str]:
    """aiohttp's static files (sendfile, Range) on a free port: what a mirror on nginx or a bucket is to a reader."""
    with _running("-m", "benchmarks.static_host", str(folder)) as url:
        yield url


@contextmanager
def _running(*arguments: str) -> Iterator[str]:
    with _process(*arguments) as (url, _):
        yield url


@contextmanager
def _process(*arguments: str) -> Iterator[tuple[str, int]]:
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(arguments)} did not start")
        yield str(json.loads(line)["url"]), process.pid
    finally:
        process.terminate()
        process.wait(timeout=20)
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def faults(origin: Path | str, *options: str) -> Iterator[str]:
    """The fault server over a folder or another server, as a process; yields its URL."""
    with _running("-m", "holdfast.demo.faults", str(origin), *options) as url:
        yield url

"""How fast a dataset comes to this disk, verified, beside curl of the same files, which verifies nothing."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from .measure import Run, Series, hash_files, interleave, timed
from .servers import peer, static_host

SECTION = "get"


def bench_get(
    uri: str, repo: Path, shards: list[Path], work: Path, rounds: int, say: Callable[[str], None]
) -> list[Series]:
    """`holdfast get` as a whole command (it starts Python each time) from a peer, from a mirror, from both."""
    size = sum(path.stat().st_size for path in shards)
    with ExitStack() as stack:
        peer_url = stack.enter_context(peer(repo))
        copy = work / "mirror"
        _get(uri, copy, peer_url)
        mirror_url = stack.enter_context(static_host(copy))
        names = [path.name for path in shards]
        rows = [
            (Series(SECTION, "floor: read and sha256", size), _floor(shards)),
            (Series(SECTION, "curl from the mirror, unverified", size, floor=_CURL), _curl(mirror_url, names, work)),
            (Series(SECTION, "curl, then sha256", size, floor=_CURL), _curl(mirror_url, names, work, then=hash_files)),
            (Series(SECTION, "holdfast get, one peer", size, floor=_CURL), _holdfast(uri, work, peer_url)),
            (Series(SECTION, "holdfast get, one mirror", size, floor=_CURL), _holdfast(uri, work, mirror_url)),
            (Series(SECTION, "holdfast get, both", size, floor=_CURL), _holdfast(uri, work, peer_url, mirror_url)),
        ]
        return interleave(rows, rounds, say)


_CURL = "curl from the mirror, unverified"


def _floor(shards: list[Path]) -> Run:
    return lambda series: timed(series, lambda: hash_files(shards))


def _curl(url: str, names: list[str], work: Path, then: Callable[[list[Path]], None] = lambda _: None) -> Run:
    def run(series: Series) -> None:
        folder = work / "curl"
        folder.mkdir()
        os.sync()  # nobody pays for what the run before left to be written
        paths = [folder / name for name in names]

        def fetch() -> None:
            _fetch_all([f"{url}/data/{name}" for name in names], paths)
            then(paths)

        timed(series, fetch)
        shutil.rmtree(folder)

    return run


def _fetch_all(urls: list[str], paths: list[Path]) -> None:
    """One after the other over one connection, by curl if it is here."""
    if shutil.which("curl"):
        pairs = [part for url, path in zip(urls, paths, strict=True) for part in ("-o", str(path), url)]
        subprocess.run(["curl", "-sS", "--fail", *pairs], check=True)
        return
    connection = http.client.HTTPConnection(urlsplit(urls[0]).netloc)
    for url, path in zip(urls, paths, strict=True):
        connection.request("GET", urlsplit(url).path)
        with path.open("wb") as file:
            shutil.copyfileobj(connection.getresponse(), file, 1 << 20)
    connection.close()


def _holdfast(uri: str, work: Path, *urls: str) -> Run:
    def run(series: Series) -> None:
        folder = work / "got"
        os.sync()
        timed(series, lambda: _get(uri, folder, *urls))
        shutil.rmtree(folder)

    return run


def _get(uri: str, folder: Path, *urls: str) -> None:
    command = [sys.executable, "-m", "holdfast", "get", uri, str(folder), "--json", *_from(urls)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _from(urls: tuple[str, ...]) -> Iterator[str]:
    for url in urls:
        yield from ("--from", url)

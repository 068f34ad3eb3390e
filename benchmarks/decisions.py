"""`python -m benchmarks.decisions`: the measurements behind docs/decisions, small enough to be run again by anybody."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import io
import os
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import pyarrow as pa
import zstandard

from holdfast.loaders.order import Order
from holdfast.loaders.order_parameters import OrderParameters
from holdfast.storage.blocks.leaf_index import REFERENCE_DTYPE, LeafIndex
from holdfast.storage.blocks.verified_file import VerifiedFile
from holdfast.storage.dag.build import build_file

from .servers import static_host

_MIB = 1 << 20
_ROUNDS = 5


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        work = Path(folder)
        clients(work)
        indexes(work)
        marks(work)
    truncated_frames()
    order()


def clients(work: Path) -> None:
    """0001: 512 MiB in ranges of 4 MiB, hashed per MiB: blocking sockets in threads, and aiohttp's client."""
    size, ranges, count = 512 * _MIB, 4 * _MIB, 4
    served = work / "served"
    served.mkdir()
    (served / "file").write_bytes(os.urandom(64 * _MIB) * 8)
    starts = list(range(0, size, ranges))
    with static_host(served) as url:
        rates: dict[str, list[tuple[float, float]]] = {"threads, readinto": [], "aiohttp client": []}
        for _ in range(_ROUNDS):
            for name, work_ in (("threads, readinto", _by_threads), ("aiohttp client", _by_aiohttp)):
                cpu, started = time.process_time(), time.perf_counter()
                work_(url, starts, ranges, count)
                rates[name].append((time.perf_counter() - started, time.process_time() - cpu))
    for name, found in rates.items():
        seconds = statistics.median(wall for wall, _ in found)
        cpu_s = statistics.median(cpu for _, cpu in found)
        print(f"0001  {name:22} {size / seconds / 1e6:8,.0f} MB/s   {cpu_s / size * 1e9:.2f} s of CPU per GB")


def _by_threads(url: str, starts: list[int], length: int, count: int) -> None:
    def fetch(mine: list[int]) -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        buffer = memoryview(bytearray(_MIB))
        for start in mine:
            connection.request("GET", "/file", headers={"Range": f"bytes={start}-{start + length - 1}"})
            answer = connection.getresponse()
            while filled := _fill(answer, buffer):
                hashlib.sha256(buffer[:filled]).digest()
        connection.close()

    threads = [threading.Thread(target=fetch, args=(starts[number::count],)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _fill(answer: http.client.HTTPResponse, buffer: memoryview) -> int:
    filled = 0
    while filled < len(buffer) and (got := answer.readinto(buffer[filled:])):
        filled += got
    return filled


def _by_aiohttp(url: str, starts: list[int], length: int, count: int) -> None:
    async def fetch(session: aiohttp.ClientSession, mine: list[int]) -> None:
        loop = asyncio.get_running_loop()
        for start in mine:
            async with session.get(f"{url}/file", headers={"Range": f"bytes={start}-{start + length - 1}"}) as answer:
                parts, held = [], 0
                async for part in answer.content.iter_any():
                    parts.append(part)
                    held += len(part)
                    if held >= _MIB:
                        await loop.run_in_executor(None, _hash_parts, parts)
                        parts, held = [], 0
                await loop.run_in_executor(None, _hash_parts, parts)

    async def fetch_all() -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(fetch(session, starts[number::count]) for number in range(count)))

    asyncio.run(fetch_all())


def _hash_parts(parts: list[bytes]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def indexes(work: Path) -> None:
    """0003: a million leaves into the sorted arrays and into SQLite; then 20,000 look-ups."""
    count = 1_000_000
    digests = os.urandom(32 * count)
    references = np.zeros(count, dtype=REFERENCE_DTYPE)
    references["offset"] = np.arange(count) * 16_384
    asked = [digests[32 * n : 32 * n + 32] for n in np.random.default_rng(1).integers(0, count, 20_000).tolist()]

    folder = work / "leaves"
    folder.mkdir()
    added = _seconds(lambda: LeafIndex(folder).add(digests, references))
    index = LeafIndex(folder)
    found = _seconds(lambda: [index.find(digest) for digest in asked])
    _say_index("sorted arrays", added, found, sum(path.stat().st_size for path in folder.iterdir()), count, len(asked))

    path = work / "leaves.db"
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE leaves (digest BLOB PRIMARY KEY, file INT, offset INT, length INT) WITHOUT ROWID")
    rows = ((digests[32 * n : 32 * n + 32], 0, n * 16_384, 16_384) for n in range(count))

    def insert() -> None:
        with database:
            database.executemany("INSERT INTO leaves VALUES (?, ?, ?, ?)", rows)

    added = _seconds(insert)
    query = "SELECT file, offset, length FROM leaves WHERE digest = ?"
    found = _seconds(lambda: [database.execute(query, (digest,)).fetchone() for digest in asked])
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    _say_index("SQLite, WAL", added, found, path.stat().st_size, count, len(asked))
    database.close()


def _say_index(name: str, added_s: float, found_s: float, size: int, count: int, asked: int) -> None:
    print(f"0003  {name:22} {added_s:6.2f} s to add {count:,}   {found_s / asked * 1e6:5.1f} µs a look-up   "
          f"{size / count:5.1f} bytes a leaf")  # fmt: skip


def marks(work: Path) -> None:
    """0004: 256 leaves of 1 MiB through `VerifiedFile.write`, and the same with a sync after every leaf."""
    leaves = [os.urandom(_MIB) for _ in range(256)]
    layout, _, _ = build_file(256 * _MIB, _MIB, b"".join(hashlib.sha256(leaf).digest() for leaf in leaves))
    for name, synced in (("marks, no sync", False), ("a sync for each leaf", True)):
        seconds = []
        for number in range(_ROUNDS):
            path = work / f"file-{synced}-{number}"
            with VerifiedFile(path, path.with_suffix(".marks"), layout).open(1) as file:
                seconds.append(_seconds(lambda: _write(file, leaves, synced=synced)))  # noqa: B023 - called at once
            path.unlink()
        print(f"0004  {name:22} {256 * _MIB / statistics.median(seconds) / 1e6:8,.0f} MB/s")


def _write(file: VerifiedFile, leaves: list[bytes], *, synced: bool) -> None:
    for number, leaf in enumerate(leaves):
        file.write(number, leaf)
        if synced:
            file.sync()


def truncated_frames() -> None:
    """0005: a zstd frame cut in half, read to its end by two libraries."""
    data = os.urandom(_MIB)
    cut = zstandard.compress(data)[: _MIB // 2]

    def by_zstandard() -> int:
        return len(zstandard.ZstdDecompressor().stream_reader(io.BytesIO(cut)).read())

    def by_arrow() -> int:
        with pa.CompressedInputStream(pa.BufferReader(cut), "zstd") as stream:
            return len(stream.read())

    for name, read in (("zstandard stream_reader", by_zstandard), ("Arrow", by_arrow)):
        try:
            print(f"0005  {name:22} end of file after {read():,} of {len(data):,} bytes, no error")
        except OSError as error:
            print(f"0005  {name:22} error: {str(error).splitlines()[0]}")


def order() -> None:
    """0002: what it costs to know which sample stands at a position."""
    parameters = OrderParameters(10**9, 1_024, 64, 64, 2, 64)
    shuffled = Order(b"root", 1, 0, parameters, True)
    for count in (1, 4_096):
        positions = np.arange(12_345_678, 12_345_678 + count, dtype=np.int64)
        repeats = 200 if count == 1 else 20
        seconds = _seconds(lambda p=positions, r=repeats: [shuffled.samples_at(p) for _ in range(r)])  # type: ignore[misc]
        print(f"0002  {count:5,} positions of 10^9    {seconds / repeats / count * 1e9:10,.0f} ns each")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())

"""Goals of large datasets and many clients: the first leaf, 100,000 shards, 500 clients of one peer."""

from __future__ import annotations

import asyncio
import random
import shutil
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from holdfast import publish
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.fetch.download import download
from holdfast.storage.fetch.mirror_folder import MirrorFolder
from holdfast.storage.session import Session
from holdfast.storage.sources.local import Local
from holdfast.storage.uri import DatasetUri

from . import child
from .goal import Goal
from .servers import faults, peer_process

Say = Callable[[str], None]
_DELAY_S = 0.1
_LEAF, _SHARD_LEAVES = 16 << 10, 4096
_CLIENTS, _REQUESTS = 500, 4


def first_leaf(work: Path, leaves: int, rounds: int, say: Say) -> list[Goal]:
    """`leaves` leaves of 16 KiB in shards of 64 MiB of zeros (sparse files): round trips to the first sample.

    A shard of 4,096 leaves has five nodes; of 64 (leaves of 1 MiB), one.
    """
    source = work / "zeros"
    source.mkdir()
    for number in range(leaves // _SHARD_LEAVES):
        with (source / f"{number:04d}.bin").open("wb") as file:
            file.truncate(_SHARD_LEAVES * _LEAF)
    repo, mirror = work / "repo", work / "mirror"
    uri = publish(source, name="z", repo=repo, format="tokens", dtype="uint16", leaf_size=_LEAF).uri
    _mirror_by_links(uri, repo, source, mirror)
    goals = [
        Goal(f"round trips to the first sample of {leaves:,} leaves, mirror", 6, at_least=False),
        Goal(f"round trips to the first sample of {leaves:,} leaves, peer", 6, at_least=False),
    ]
    with ExitStack() as stack:
        peer_url, _ = stack.enter_context(peer_process(repo))
        for goal, origin in zip(goals, (str(mirror), peer_url), strict=True):
            near = stack.enter_context(faults(origin))
            far = stack.enter_context(faults(origin, "--delay", f"{_DELAY_S * 1000:.0f}ms"))
            for _ in range(rounds):
                fast, slow = (child.run("first", uri, url, "1024").seconds for url in (near, far))
                trips = (slow - fast) / _DELAY_S
                goal.runs.append(round(trips))  # there are whole ones only; each takes some milliseconds of its own
                say(f"{goal.name}: {fast:.2f} s, with {_DELAY_S:g} s of delay {slow:.2f} s: {trips:.1f}")
    shutil.rmtree(source)
    return goals


def _mirror_by_links(uri: str, repo: Path, source: Path, mirror: Path) -> None:
    """A mirror whose shards are links to the source: 16 GB of zeros need no copy."""
    folder = MirrorFolder(mirror).open_folder()
    with (
        DiskStore(repo).open(create=False) as store,
        Session(DatasetUri.parse(uri), [Local(store)]) as session,
    ):
        for file in session.tree.files():
            session.tree.ref(file)  # the nodes of every shard
        download(session.tree, folder, select=lambda file: not file.path.startswith("data/"))
        for cid in store.nodes.cids():
            folder.keep_node(store.get(type(cid)(1, 0x70, cid.multihash)))
    folder.close()
    (mirror / "data").mkdir()
    for path in source.iterdir():
        (mirror / "data" / path.name).symlink_to(path)


def many_shards(work: Path, shards: int, rounds: int, say: Say) -> list[Goal]:
    """A dataset of `shards` shards, opened over loopback, to its first sample."""
    seconds = Goal(f"opening {shards:,} shards to the first sample", 1.0, at_least=False, unit="s")
    memory = Goal(f"opening {shards:,} shards: memory beyond that of the imports", 200, at_least=False, unit="MB (PSS)")
    data = random.Random(2).randbytes(64 + shards)
    for number in range(shards):
        path = work / f"many/{number // 1000:03d}/{number:06d}.bin"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(data[number : number + 64])
    uri = publish(work / "many", name="m", repo=work / "many-repo", format="tokens", dtype="uint16").uri
    with peer_process(work / "many-repo") as (url, _):
        for _ in range(rounds):
            done = child.run("first", uri, url, "16")
            seconds.runs.append(done.seconds)
            memory.runs.append((done.peak_pss - done.base_pss) / 1e6)
            say(f"opening {shards:,} shards: {done.seconds:.2f} s, {memory.runs[-1]:.0f} MB more than torch and we")
    shutil.rmtree(work / "many")
    return [seconds, memory]


def many_clients(uri: str, repo: Path, rounds: int, say: Say) -> list[Goal]:
    """500 clients at once, each asking for blocks of 1 MiB one after the other."""
    errors = Goal("serve, 500 clients: errors", 0, at_least=False)
    spread = Goal("serve, 500 clients, 1 MiB blocks: p99 / p50", 10, at_least=False)
    memory = Goal("serve, 500 clients: memory", 300, at_least=False, unit="MB (PSS)")
    with DiskStore(repo).open(create=False) as store, Session(DatasetUri.parse(uri), [Local(store)]) as session:
        files = [session.tree.ref(file) for file in session.tree.files() if file.path.startswith("data/")]
    blocks = [str(file.layout.leaf_cid(leaf)) for file in files for leaf in range(file.layout.leaves)]
    with peer_process(repo) as (url, pid):
        for number in range(rounds):
            found, failed, peak = asyncio.run(_crowd(url, pid, blocks, number))
            cuts = statistics.quantiles(found, n=100)
            errors.runs.append(failed)
            spread.runs.append(cuts[98] / cuts[49])
            memory.runs.append(peak / 1e6)
            say(f"500 clients: p50 {cuts[49]:.2f} s, p99 {cuts[98]:.2f} s, {failed} errors, {peak / 1e6:.0f} MB")
    return [errors, spread, memory]


async def _crowd(url: str, pid: int, blocks: list[str], seed: int) -> tuple[list[float], int, int]:
    numbers = random.Random(seed)
    took: list[float] = []
    failed = peak = 0
    parts = urlsplit(url)

    async def client(wanted: list[str]) -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 21)
        try:
            for cid in wanted:
                started = time.perf_counter()
                writer.write(f"GET /ipfs/{cid}?format=raw HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
                )
                await reader.readexactly(length)
                took.append(time.perf_counter() - started)
                failed += not head.startswith(b"HTTP/1.1 200")
        except (OSError, asyncio.IncompleteReadError, StopIteration):
            failed += 1
        finally:
            writer.close()

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, child.pss(pid))
            await asyncio.sleep(0.1)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(client(numbers.choices(blocks, k=_REQUESTS)) for _ in range(_CLIENTS)))
    watcher.cancel()
    return took, failed, peak

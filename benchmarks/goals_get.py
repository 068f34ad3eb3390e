"""Goals of `get`: beside curl and a sha256 pass; from a peer; from many, limited, delayed and faulty sources."""

from __future__ import annotations

import json
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .goal import Goal
from .nginx import nginx
from .ready_memory import ReadyMemory
from .servers import faults, peer

Say = Callable[[str], None]
_MB = 1_000_000


@dataclass(frozen=True)
class Fetched:
    """A command's wall and CPU seconds (Python's start included), and what it said."""

    seconds: float
    cpu_s: float
    said: dict[str, Any]


def whole(uri: str, repo: Path, mirror: Path, work: Path, rounds: int, memory: ReadyMemory, say: Say) -> list[Goal]:
    """2 GB from one nginx, over TLS, and from one `holdfast serve`."""
    shards = sorted((mirror / "data").iterdir())
    faster = Goal("get from nginx / curl and then one sha256 pass", 1.5)
    cpu = Goal("get from nginx: CPU / that of these two", 1.0, at_least=False)
    tls = Goal("get over TLS / curl over TLS", 0.7)
    served = Goal("get from holdfast serve / get from nginx", 0.8)
    with ExitStack() as stack:
        host = stack.enter_context(nginx(mirror, work / "nginx"))
        peer_url = stack.enter_context(peer(repo))
        roster = work / "roster.toml"
        roster.write_text(
            f'[[provider]]\nname = "n"\nkind = "mirror"\nurl = "{host.tls_url}"\nca_file = "{host.ca_file}"\n'
        )
        runs: dict[str, Callable[[], Fetched]] = {
            "curl": lambda: _curl(host.url, shards, work / "curl", memory, then_hash=True),
            "ours": lambda: _get(uri, work, memory, "--from", host.url),
            "peer": lambda: _get(uri, work, memory, "--from", peer_url),
            "curl tls": lambda: _curl(host.tls_url, shards, work / "curl", memory, ca_file=host.ca_file),
            "ours tls": lambda: _get(uri, work, memory, "--roster", str(roster)),
        }
        numbers = random.Random(1)
        for _ in range(rounds):
            done = {name: runs[name]() for name in numbers.sample(sorted(runs), len(runs))}
            curl, ours, theirs, curl_tls, ours_tls = (done[name] for name in runs)
            faster.runs.append(curl.seconds / ours.seconds)
            cpu.runs.append(ours.cpu_s / curl.cpu_s)
            served.runs.append(ours.seconds / theirs.seconds)
            tls.runs.append(curl_tls.seconds / ours_tls.seconds)
            say(
                f"get: nginx {ours.seconds:.2f} s (CPU {ours.cpu_s:.2f}), curl and sha256 {curl.seconds:.2f} s"
                f" (CPU {curl.cpu_s:.2f}), peer {theirs.seconds:.2f} s,"
                f" TLS {ours_tls.seconds:.2f} s, curl TLS {curl_tls.seconds:.2f} s"
            )
    return [faster, cpu, tls, served]


def many(uri: str, mirror: Path, work: Path, rounds: int, memory: ReadyMemory, say: Say) -> list[Goal]:
    """Four sources of 50 MB/s; and two of these beside a dead, a lying and a crawling one."""
    four = Goal("get from 4 sources of 50 MB/s / 200 MB/s", 0.95)
    faulty = Goal("get, one dead, one lying, one at 1 MB/s / the honest ones' 101 MB/s", 0.9)
    extra = Goal("the same: bytes received beyond those needed", 5, at_least=False, unit="%")
    evidence = Goal("the same: the liar's wrong answers in the report", 1, unit="answers")
    with ExitStack() as stack:
        good = [stack.enter_context(faults(mirror, "--rate", "50MB/s")) for _ in range(4)]
        liar = stack.enter_context(faults(mirror, "--rate", "50MB/s", "--verdict", "WRONG_BYTES", "--paths", "data/*"))
        slow = stack.enter_context(faults(mirror, "--rate", "1MB/s"))
        dead = "http://127.0.0.1:9"
        for _ in range(rounds):
            done = _get(uri, work, memory, *_from(good)).said
            four.runs.append(done["bytes"] / done["seconds"] / (200 * _MB))
            done = _get(uri, work, memory, *_from([*good[:2], dead, liar, slow])).said
            rate = done["bytes"] / done["seconds"]
            faulty.runs.append(rate / (101 * _MB))
            extra.runs.append(100 * done["refetched_bytes"] / done["bytes"])
            wrong = {source["url"]: source["wrong"] for source in done["sources"]}
            evidence.runs.append(wrong[liar])
            say(f"get from four: {four.runs[-1]:.3f} of 200 MB/s; with faults {rate / _MB:.0f} MB/s, {wrong}")
    return [four, faulty, extra, evidence]


def delayed(uri: str, mirror: Path, work: Path, rounds: int, memory: ReadyMemory, say: Say) -> list[Goal]:
    """50 ms before each answer."""
    goal = Goal("get with 50 ms before each answer / without", 0.9)
    with faults(mirror) as fast, faults(mirror, "--delay", "50ms") as slow:
        for _ in range(rounds):
            plain = _get(uri, work, memory, "--from", fast).said["seconds"]
            late = _get(uri, work, memory, "--from", slow).said["seconds"]
            goal.runs.append(plain / late)
            say(f"get without delay {plain:.2f} s, with 50 ms {late:.2f} s")
    return [goal]


def _from(urls: Sequence[str]) -> list[str]:
    return [part for url in urls for part in ("--from", url)]


def _get(uri: str, work: Path, memory: ReadyMemory, *sources: str) -> Fetched:
    folder = work / "got"
    command = [sys.executable, "-m", "holdfast", "get", uri, str(folder), "--json", *sources]
    with memory.lend():
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        seconds, cpu_s = time.perf_counter() - started, _cpu_since(before)
    shutil.rmtree(folder)
    return Fetched(seconds, cpu_s, json.loads(done.stdout))


def _curl(
    url: str,
    shards: list[Path],
    folder: Path,
    memory: ReadyMemory,
    *,
    then_hash: bool = False,
    ca_file: Path | None = None,
) -> Fetched:
    folder.mkdir()
    paths = [folder / shard.name for shard in shards]
    pairs = [part for path in paths for part in ("-o", str(path), f"{url}/data/{path.name}")]
    trust = ["--cacert", str(ca_file)] if ca_file else []
    with memory.lend():
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(["curl", "-sS", "--fail", *trust, *pairs], check=True)
        if then_hash:
            program = "import sys; from pathlib import Path; from benchmarks.measure import hash_files\n"
            subprocess.run([sys.executable, "-c", f"{program}hash_files(map(Path, sys.argv[1:]))", *paths], check=True)
        seconds, cpu_s = time.perf_counter() - started, _cpu_since(before)
    shutil.rmtree(folder)
    return Fetched(seconds, cpu_s, {})


def _cpu_since(before: resource.struct_rusage) -> float:
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime

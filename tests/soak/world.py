"""What a soak runs on: a dataset, its reference made from the source files alone, and the hosts that keep it."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.get import get

from .hosts import Host, peer, static

KIB, MIB = 1 << 10, 1 << 20
_SAMPLE = 16 * KIB
_LIES = 0.2  # of the liar's answers


@dataclass
class World:
    """`hosts` can be read from; `origin` has the small dataset `other`, which peers pin and let go of."""

    place: Path
    root: str
    other: str
    reference: list[tuple[str, str]]
    hosts: list[Host]
    origin: Host
    told: Path

    @property
    def peers(self) -> list[Host]:
        """Those with a repository."""
        return [host for host in self.hosts if host.kind == "peer"]

    @property
    def steady(self) -> Host:
        """The peer that is never killed."""
        return next(host for host in self.peers if not host.killable)

    def repo(self, host: Host) -> Path:
        """The repository of a peer."""
        return self.place / host.name / "repo"

    def token_file(self, host: Host) -> Path:
        """Its token."""
        return self.place / host.name / "token"

    def lies(self) -> int:
        """Wrong answers sent so far."""
        return self.told.stat().st_size

    def stop(self) -> None:
        """End every process."""
        for host in [*self.hosts, self.origin]:
            host.end(signal.SIGKILL)


def make_world(place: Path, mib: int, seed: int) -> World:
    """Publish, copy, start everybody."""
    numbers = random.Random(seed)
    reference = _samples(place / "source", mib * MIB // _SAMPLE, numbers)
    _samples(place / "other-source", 128, numbers)
    for name in ("north", "south"):
        (place / name).mkdir()
    options = {"leaf_size": 64 * KIB, "shard_size": 2 * MIB}
    root = publish(place / "source", name="soak", repo=place / "north" / "repo", **options).uri
    again = publish(place / "source", name="soak", repo=place / "south" / "repo", **options).uri
    other = publish(place / "other-source", name="other", repo=place / "other-repo", **options).uri
    assert root == again
    for repo, uri, target in (("north/repo", root, "mirror"), ("other-repo", other, "other")):
        with DiskStore(place / repo).open(create=False) as store:
            get(uri, place / target, store=store)
    told = place / "lies"
    told.touch()
    mirror = place / "mirror"
    hosts = [
        peer("north", place / "north", killable=False),
        peer("south", place / "south", killable=True),
        static("east", "static", mirror, place),
        static("west", "static", mirror, place),
        static("liar", "liar", mirror, place, "--lie", str(_LIES), "--seed", str(seed), "--told", str(told)),
        static("slow", "slow", mirror, place, "--rate", str(400 * KIB)),
    ]
    made = World(place, root, other, reference, hosts, static("origin", "static", place / "other", place), told)
    try:
        for host in [*hosts, made.origin]:
            assert host.start(), host.log.read_text()
    except BaseException:
        made.stop()
        raise
    return made


def holdfast(*arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """One command of the command line."""
    command = [sys.executable, "-m", "holdfast", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL)


def _samples(folder: Path, count: int, numbers: random.Random) -> list[tuple[str, str]]:
    folder.mkdir(parents=True)
    found = []
    for number in range(count):
        data = numbers.randbytes(_SAMPLE)
        (folder / f"s{number:06d}.jpg").write_bytes(data)
        found.append((f"s{number:06d}", hashlib.sha256(data).hexdigest()))
    return found

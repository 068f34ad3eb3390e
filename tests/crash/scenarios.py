"""What is killed: publish (in place, tar, parquet), get, car import, a peer's pin, the loader, its fetcher, gc."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crash.counting_host import CountingHost
from crash.killing import Scenario
from holdfast.loaders import cache as _cache  # noqa: F401 - imported once, before anything is forked
from holdfast.loaders.dataset import StreamingDataset
from holdfast.pipeline import keeper
from holdfast.pipeline.pack import survey
from holdfast.pipeline.publish import publish
from holdfast.storage.blocks import car_resume
from holdfast.storage.blocks.car_file import export_car, first_missing, import_car
from holdfast.storage.blocks.check import Checked, check
from holdfast.storage.blocks.collect import collect
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID
from holdfast.storage.get import get
from holdfast.storage.node import pin_job, room  # noqa: F401
from holdfast.storage.node.pin_local import LocalPins
from holdfast.storage.node.pin_records import PinRecords
from holdfast.storage.node.server import Node, NodeOptions
from holdfast.storage.sources.from_roster import sources_of
from support.ageing import age
from support.fetchers import processes, wait_until_gone

KIB, MIB = 1 << 10, 1 << 20
LEAF = 64 * KIB


@dataclass
class World:
    """Data that all scenarios share, made once: sources, a published repository, its CAR, and a host of its files."""

    place: Path
    size: int  # bytes of each source
    root: CID
    host: CountingHost

    def source(self, kind: str) -> Path:
        """A folder of `size` bytes in one kind of files."""
        return self.place / kind


@contextmanager
def world(place: Path, size: int, seed: int) -> Iterator[World]:
    """Make the data; stops its host at the end."""
    numbers = random.Random(seed)
    for number in range(16):
        data = numbers.randbytes(size // 16)
        _write(place / f"tokens/t{number:02d}.bin", data)
        for part in range(32):
            piece = data[part * len(data) // 32 : (part + 1) * len(data) // 32]
            _write(place / f"loose/s{number:02d}-{part:02d}.jpg", piece)
            text = piece.hex()[: len(piece)]
            lines = "".join(
                json.dumps({"n": at, "text": text[at : at + 500]}) + "\n" for at in range(0, len(text), 500)
            )
            with (
                (place / "jsonl" / f"l{number:02d}.jsonl").open("a")
                if (place / "jsonl").is_dir()
                else _first(place / "jsonl" / f"l{number:02d}.jsonl") as file
            ):
                file.write(lines)
    time.sleep(0.05)  # older than a tick
    root = publish(place / "loose", name="d", repo=place / "repo", leaf_size=LEAF, shard_size=MIB).root
    other = publish(place / "tokens", name="o", repo=place / "repo", **TOKENS).root
    with DiskStore(place / "repo").open() as store:
        export_car(store, root, place / "d.car")
        get(f"ipfs://{root}", place / "mirror", store=store)
        LocalPins(store).rm("local-o")
    assert other != root
    with CountingHost(place / "mirror") as host:
        yield World(place, size, root, host)


TOKENS = {"format": "tokens", "dtype": "uint16", "leaf_size": LEAF}


def _first(path: Path):  # type: ignore[no-untyped-def]
    path.parent.mkdir(parents=True)
    return path.open("a")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def whole(repo: Path, *roots: CID) -> None:
    """Everything in the repository is what was hashed, and these roots are complete."""
    if not (repo / "format").exists():
        assert not roots
        return
    with DiskStore(repo).open() as store:
        faults = list(check(store, Checked()))
        assert not faults, faults
        for root in [*roots, *store.catalog.names().values()]:
            missing = first_missing(store, root)
            assert missing is None, f"{root} lacks {missing}"


class _OverARepo:
    """Scenarios on a repository of their own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.name = type(self).__name__

    def prepare(self, place: Path) -> None:
        place.mkdir(parents=True)

    def after_kill(self, place: Path) -> None:
        whole(place / "repo")

    def moved_bytes(self) -> int | None:
        return None


class Publish(_OverARepo):
    """One kind of source; batches are made visible every 20 ms instead of every 2 s: the data is small, too."""

    def __init__(self, world: World, kind: str) -> None:
        super().__init__(world)
        self.kind = kind
        self.name = f"publish {kind}"
        self.options = TOKENS if kind == "tokens" else {"leaf_size": LEAF, "shard_size": MIB}
        self.root: CID | None = None

    def work(self, place: Path) -> None:
        keeper._BATCH_S = survey._BATCH_S = 0.02
        publish(self.world.source(self.kind), name="p", repo=place / "repo", **self.options)  # type: ignore[arg-type]

    def at_end(self, place: Path) -> None:
        with DiskStore(place / "repo").open() as store:
            root = store.catalog.names()["p"]
            left = [path for path in store.files_folder.iterdir() if store.catalog.file_at(path) is None]
            age(store)
            collect(store)
            assert not [path for path in store.files_folder.iterdir() if store.catalog.file_at(path) is None], left
        self.root = self.root or root
        assert root == self.root, "the root differs from that of an uninterrupted run"
        whole(place / "repo", root)


class Get(_OverARepo):
    """Into a folder, from a plain mirror."""

    def moved_bytes(self) -> int:
        return self.world.host.bytes()

    def work(self, place: Path) -> None:
        get(f"ipfs://{self.world.root}", place / "dest", sources=[self.world.host.url])

    def after_kill(self, place: Path) -> None:
        self._compare(place / "dest")

    def at_end(self, place: Path) -> None:
        self._compare(place / "dest")
        differ = _names(place / "dest") ^ _names(self.world.place / "mirror")
        assert not differ, f"DEST and a mirror differ in {sorted(differ)}"

    def _compare(self, dest: Path) -> None:
        for name in _names(dest):
            if not name.startswith(".holdfast/partial/") and not Path(name).name.endswith(".tmp"):
                assert (dest / name).read_bytes() == (self.world.place / "mirror" / name).read_bytes(), (
                    f"{name} is torn"
                )


def _names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


class CarImport(_OverARepo):
    """A CAR into a repository; how far it came is noted every 20 ms instead of every 2 s: the data is small, too."""

    def work(self, place: Path) -> None:
        car_resume._BATCH_S = 0.02
        with DiskStore(place / "repo").open() as store:
            import_car(store, self.world.place / "d.car")
            LocalPins(store).add(self.world.root, "imported", ())

    def at_end(self, place: Path) -> None:
        whole(place / "repo", self.world.root)
        with DiskStore(place / "repo").open() as store:
            age(store)
            collect(store)
            assert len(list(store.files_folder.iterdir())) == 1, "one copy, nothing half-written"
        whole(place / "repo", self.world.root)


class Pin(_OverARepo):
    """A peer fetches what it was asked to pin; after each kill it starts again and goes on."""

    def moved_bytes(self) -> int:
        return self.world.host.bytes()

    def prepare(self, place: Path) -> None:
        place.mkdir(parents=True)
        with DiskStore(place / "repo").open() as store:
            PinRecords(store.catalog).add(self.world.root, "pinned", (), {})

    def work(self, place: Path) -> None:
        trusted = lambda: sources_of([self.world.host.url], env={})
        with DiskStore(place / "repo").open() as store:
            asyncio.run(self._run(store, NodeOptions(trusted=trusted)))

    async def _run(self, store: DiskStore, options: NodeOptions) -> None:
        node = Node(store, options)
        await node.start()
        (pin,) = LocalPins(store).ls()
        while not LocalPins(store).status(pin.requestid).status.final:
            await asyncio.sleep(0.002)
        await node.stop()
        assert LocalPins(store).status(pin.requestid).status == "pinned"

    def at_end(self, place: Path) -> None:
        whole(place / "repo", self.world.root)


class LoaderCache(_OverARepo):
    """Two epochs of a dataset through the cache; every sample is compared with its file."""

    cache_bytes = 1 << 40
    fetcher = False

    def moved_bytes(self) -> int:
        return self.world.host.bytes()

    def work(self, place: Path) -> None:
        dataset = StreamingDataset(
            f"ipfs://{self.world.root}", sources=[self.world.host.url], cache=place / "cache",
            cache_bytes=self.cache_bytes, shuffle=True, seed=1, fetcher=self.fetcher,
        )  # fmt: skip
        for epoch in range(2):
            dataset.set_epoch(epoch)
            seen = set()
            for sample in dataset:
                key = str(sample["__key__"])
                assert sample["jpg"] == (self.world.place / "loose" / f"{key}.jpg").read_bytes(), f"{key} is wrong"
                assert key not in seen, f"{key} came twice"
                seen.add(key)
            assert len(seen) == 16 * 32

    def after_kill(self, place: Path) -> None:
        """Nothing to look at but the samples of the next run."""

    def at_end(self, place: Path) -> None:
        """The work itself compared every sample."""


class LoaderEvicting(LoaderCache):
    """The same through a cache that holds two thirds of it: every run evicts, and fetches again."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.cache_bytes = world.size * 2 // 3


class LoaderFetcher(LoaderCache):
    """The same with a fetcher, which every second kill hits as well: the others find it still at work."""

    fetcher = True

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._kills = 0

    def after_kill(self, place: Path) -> None:
        self._kills += 1
        for pid in processes(place / "cache") if self._kills % 2 else ():
            os.kill(pid, signal.SIGKILL)

    def at_end(self, place: Path) -> None:
        wait_until_gone(place / "cache")
        said = (place / "cache/fetcher.log").read_text()
        assert "Traceback" not in said, said


class Collect(_OverARepo):
    """A gc of a repository with something pinned and something not."""

    def prepare(self, place: Path) -> None:
        shutil.copytree(self.world.place / "repo", place / "repo")
        with DiskStore(place / "repo").open() as store:
            age(store)

    def work(self, place: Path) -> None:
        with DiskStore(place / "repo").open() as store:
            collect(store)

    def after_kill(self, place: Path) -> None:
        whole(place / "repo", self.world.root)

    def at_end(self, place: Path) -> None:
        whole(place / "repo", self.world.root)
        with DiskStore(place / "repo").open() as store:
            rows = store.catalog.rows("SELECT count(*) FROM files WHERE owned = 0 AND path LIKE '%.bin'")
            assert rows == [(0,)], "what is not pinned is still referred to"


def scenarios(world: World) -> list[Scenario]:
    """All of them."""
    publishes = [Publish(world, kind) for kind in ("tokens", "loose", "jsonl")]
    return [*publishes, Get(world), CarImport(world), Pin(world)] + [
        LoaderCache(world),
        LoaderEvicting(world),
        LoaderFetcher(world),
        Collect(world),
    ]

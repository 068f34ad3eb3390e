"""`collect`: what nothing leads to goes, everything else stays, whoever is under way."""

from __future__ import annotations

import fcntl
import random
import threading
from pathlib import Path

import pytest

from holdfast.pipeline.publish import publish
from holdfast.storage.blocks import lease as leases
from holdfast.storage.blocks.car_file import export_car, first_missing, import_car
from holdfast.storage.blocks.check import Checked, check
from holdfast.storage.blocks.collect import collect
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.lease import lease
from holdfast.storage.blocks.stat import stat
from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import ConfigError
from holdfast.storage.node.pin_local import LocalPins
from support.ageing import age

KIB = 1 << 10


def corpus(folder: Path, seed: int, files: int = 12) -> Path:
    folder.mkdir(parents=True)
    numbers = random.Random(seed)
    for number in range(files):
        (folder / f"f{number}.txt").write_text(numbers.randbytes(20 * KIB).hex())
    return folder


def publish_text(repo: Path, source: Path, name: str) -> CID:
    return publish(source, name=name, repo=repo, leaf_size=16 * KIB, shard_size=128 * KIB).root


def files_of(store: DiskStore) -> dict[str, bytes]:
    folders = (store.nodes.folder, store.files_folder)
    return {str(p.relative_to(store.folder)): p.read_bytes() for f in folders for p in f.rglob("*") if p.is_file()}


def test_what_is_published_stays_and_what_is_unpinned_goes(tmp_path: Path) -> None:
    one = publish_text(tmp_path / "repo", corpus(tmp_path / "a", 1), "a")
    with DiskStore(tmp_path / "repo").open() as store:
        before = files_of(store)
        two = publish_text(tmp_path / "repo", corpus(tmp_path / "b", 2), "b")
        age(store)
        assert collect(store).bytes == 0
        assert first_missing(store, one) is None
        assert first_missing(store, two) is None
        LocalPins(store).rm("local-b")
        promised = collect(store, dry_run=True)
        assert first_missing(store, two) is None, "a dry run frees nothing"
        freed = collect(store)
        assert (freed.files, freed.nodes) == (promised.files, promised.nodes)
        assert freed.files > 3
        assert freed.nodes > 1
        assert freed.bytes > 12 * 10 * KIB
        assert files_of(store) == before, "exactly what came with b went"
        assert first_missing(store, one) is None
        assert first_missing(store, two) == two
        assert not store.has(two)
        assert list(check(store, Checked())) == []
        assert stat(store).stray_files == 0
        assert collect(store).bytes == 0


def test_a_name_that_moved_on_frees_what_only_the_old_version_had(tmp_path: Path) -> None:
    source = corpus(tmp_path / "a", 1)
    old = publish_text(tmp_path / "repo", source, "a")
    (source / "f3.txt").write_text("another text")
    new = publish_text(tmp_path / "repo", source, "a")
    assert old != new
    with DiskStore(tmp_path / "repo").open() as store:
        age(store)
        assert collect(store).files > 0
        assert first_missing(store, new) is None
        assert first_missing(store, old) is not None


def test_files_of_the_user_are_forgotten_and_never_touched(tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    folder.mkdir()
    (folder / "t.bin").write_bytes(random.Random(5).randbytes(200 * KIB))
    before = (folder / "t.bin").stat().st_ctime_ns, (folder / "t.bin").read_bytes()
    publish(folder, name="t", repo=tmp_path / "repo", format="tokens", dtype="uint16", leaf_size=16 * KIB)
    with DiskStore(tmp_path / "repo").open() as store:
        LocalPins(store).rm("local-t")
        age(store)
        freed = collect(store)
        assert freed.forgotten == 1
        assert stat(store).leaves == 0
        assert ((folder / "t.bin").stat().st_ctime_ns, (folder / "t.bin").read_bytes()) == before


def test_a_pinned_car_stays_whole_and_another_goes(tmp_path: Path) -> None:
    root = publish_text(tmp_path / "first", corpus(tmp_path / "a", 1), "a")
    other = publish_text(tmp_path / "first", corpus(tmp_path / "b", 2), "b")
    with DiskStore(tmp_path / "first").open() as store:
        for cid, name in ((root, "a"), (other, "b")):
            export_car(store, cid, tmp_path / f"{name}.car")
    with DiskStore(tmp_path / "second").open() as store:
        import_car(store, tmp_path / "a.car")
        import_car(store, tmp_path / "b.car")
        LocalPins(store).add(root, "kept", ())
        age(store)
        collect(store)
        assert first_missing(store, root) is None
        assert not store.has(other)
        assert list(check(store, Checked())) == []


def test_a_lease_protects_what_has_no_root_yet(tmp_path: Path) -> None:
    with DiskStore(tmp_path / "repo").open() as store:
        old = store.put(CID.of(RAW, b"old"), b"old")
        age(store)
        with lease(store.folder, "publish"):
            new = store.put(CID.of(RAW, b"new"), b"new")
            again = store.put(CID.of(RAW, b"old"), b"old")
            assert collect(store).nodes == 0
            assert store.has(old.cid)
            assert store.has(again.cid)
            assert store.has(new.cid)
        age(store)
        assert collect(store).nodes == 2


def test_only_one_gc_at_a_time(tmp_path: Path) -> None:
    with DiskStore(tmp_path / "repo").open() as store:
        with (store.folder / "gc.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with pytest.raises(ConfigError, match="another gc runs"):
                collect(store)


def test_publishing_and_collecting_at_the_same_time_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names come, move and go in three threads, each with a store of its own, while a fourth collects."""
    monkeypatch.setattr(leases, "MARGIN_NS", 20_000_000)  # two ticks: a gc frees what a second ago was still young
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    repo = tmp_path / "repo"
    sources = [corpus(tmp_path / f"s{n}", seed + n, files=4) for n in range(4)]
    sources.append(corpus(tmp_path / "same", seed, files=4))  # the same bytes as s0, in other files
    DiskStore(repo).open().close()
    problems: list[BaseException] = []
    done = threading.Event()
    freed: list[int] = []

    def churn(number: int) -> None:
        numbers = random.Random(seed + 10 + number)
        try:
            for _ in range(12):
                root = publish_text(repo, numbers.choice(sources), f"n{number}")
                with DiskStore(repo).open() as store:
                    assert first_missing(store, root) is None, f"{root} lost a block"
                    if numbers.random() < 0.4:
                        LocalPins(store).rm(f"local-n{number}")
        except BaseException as error:
            problems.append(error)

    def sweep() -> None:
        with DiskStore(repo).open() as store:
            while not done.is_set():
                try:
                    freed.append(collect(store).files)
                except BaseException as error:
                    problems.append(error)
                    return

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(3)]
    sweeper = threading.Thread(target=sweep)
    for thread in [*threads, sweeper]:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    sweeper.join()
    if problems:
        raise problems[0]
    assert sum(freed) > 0, "nothing was ever freed: this has tested nothing"
    with DiskStore(repo).open() as store:
        for root in store.catalog.names().values():
            assert first_missing(store, root) is None
        assert list(check(store, Checked())) == []

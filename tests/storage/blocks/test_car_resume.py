"""An import of a CAR file that was killed goes on: nothing is copied twice, and nothing torn or rotten is taken."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.storage.blocks import car_file, car_resume
from holdfast.storage.blocks.block import Block
from holdfast.storage.blocks.car_file import CarSummary, export_car, import_car, look
from holdfast.storage.blocks.car_spool import Spool
from holdfast.storage.blocks.catalog import Catalog
from holdfast.storage.blocks.check import Checked, check
from holdfast.storage.blocks.collect import collect
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.journal import Journal
from holdfast.storage.blocks.lease import lease
from holdfast.storage.blocks.stamp import Stamp
from holdfast.storage.cid import CID, RAW
from holdfast.storage.dag.car import encode_header, encode_section
from holdfast.storage.errors import ConfigError, FormatError, StoreError
from support.ageing import age
from support.programs import Program
from support.running_node import publish_folder
from support.sources import tree_of
from support.trees import LEAF

COUNT = 100
FILES = {"a.bin": random.Random(51).randbytes(COUNT * LEAF + 1), "b.txt": b"hello"}

# dies when `holdfast.storage.blocks.<module>.<name>` has been called so many times
KILLED = """
import os, signal, sys
from pathlib import Path
from holdfast.storage.blocks import car_file, car_resume
from holdfast.storage.blocks.disk import DiskStore
car_resume._BATCH_S = -1.0  # noted behind every section
repo, car, module, name, times = sys.argv[1:]
where = {"Resume": car_resume.Resume, "car_file": car_file, "DiskStore": DiskStore}[module]
real, count = getattr(where, name), 0
def die(*given, **named):
    global count
    found = real(*given, **named)
    count += 1
    if count == int(times):
        os.kill(os.getpid(), signal.SIGKILL)
    return found
setattr(where, name, die)
with DiskStore(Path(repo)).open() as store:
    car_file.import_car(store, Path(car))
"""


def killed(repo: Path, car: Path, module: str = "Resume", name: str = "_note", times: int = 60) -> None:
    """An import that dies behind its sixtieth note, or where it is told."""
    assert Program(KILLED, repo, car, module, name, times).wait(60) == -signal.SIGKILL


class Counted:
    """Bytes that this process reads and writes, and blocks of the CAR that it hashes, inside of it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.read = self.written = self.hashed = 0
        real = Block.verify
        patch.setattr("holdfast.storage.dag.car.Block.verify", lambda *given: self._hash() or real(*given))

    def _hash(self) -> None:
        self.hashed += 1

    def __enter__(self) -> Counted:
        self.hashed, self._before = 0, _moved_bytes()
        return self

    def __exit__(self, *_: object) -> None:
        now = _moved_bytes()
        self.read, self.written = now[0] - self._before[0], now[1] - self._before[1]


def _moved_bytes() -> tuple[int, int]:
    read, written, *_ = (int(line.split()[1]) for line in Path("/proc/self/io").read_text().splitlines())
    return read, written


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


@pytest.fixture(params=[1, 2])
def car(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with DiskStore(tmp_path / "origin").open() as store:
        root = publish_folder(store, tmp_path / "src", FILES)
        export_car(store, root, tmp_path / "x.car", version=request.param)
    (tmp_path / "root").write_text(str(root))
    time.sleep(0.03)  # older than a tick: a change would show in its stamp
    return tmp_path / "x.car"


@pytest.fixture
def whole(tmp_path: Path, car: Path) -> tuple[CarSummary, dict[str, bytes]]:
    """What an uninterrupted import reports and leaves."""
    with DiskStore(tmp_path / "whole").open() as store:
        return import_car(store, car), _files(store)


@pytest.fixture
def repo(tmp_path: Path, car: Path) -> Iterator[DiskStore]:
    """A repository with an import that was killed in the middle."""
    killed(tmp_path / "repo", car)
    with DiskStore(tmp_path / "repo").open() as store:
        yield store


def _files(store: DiskStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.files_folder.iterdir()}


def _part(store: DiskStore) -> Path:
    (part,) = store.files_folder.glob("*.part")
    return part


def _ends_well(store: DiskStore, found: CarSummary, whole: tuple[CarSummary, dict[str, bytes]]) -> None:
    assert (found, _files(store)) == whole
    assert tree_of(store, found.roots[0]) == FILES
    assert list(check(store, Checked())) == []


def test_what_was_copied_is_not_read_and_not_hashed_again(
    repo: DiskStore, car: Path, whole: tuple[CarSummary, dict[str, bytes]], counted: Counted
) -> None:
    """Of the CAR, that is: the copy is read and hashed in its place, for the disk may have changed it since."""
    assert not repo.has(whole[0].roots[0])
    with counted:
        found = import_car(repo, car)
    assert counted.hashed == found.blocks - 60
    size = car.stat().st_size
    assert counted.written < size * 0.6, "forty sections of a hundred, and the catalogue"
    assert counted.read < size * 1.35, "each byte once, of the file or of the copy, and heads"
    _ends_well(repo, found, whole)


@pytest.mark.parametrize(
    ("module", "name", "times"),
    [
        ("Resume", "note_end", 1),
        ("car_file", "sync_folder", 1),
        ("DiskStore", "adopt_car", 1),
        ("car_file", "_take", 1),
    ],
)
def test_behind_the_last_section_nothing_is_read_again(
    tmp_path: Path, car: Path, whole: tuple[CarSummary, dict[str, bytes]], counted: Counted, module: str, name: str,
    times: int,
) -> None:  # fmt: skip
    killed(tmp_path / "repo", car, module, name, times)
    with DiskStore(tmp_path / "repo").open() as store:
        with counted:
            found = import_car(store, car)
        assert counted.hashed == 0
        _ends_well(store, found, whole)


def test_each_of_many_kills_loses_little(
    tmp_path: Path, car: Path, whole: tuple[CarSummary, dict[str, bytes]], counted: Counted
) -> None:
    for _ in range(7):
        killed(tmp_path / "repo", car, times=12)
    with DiskStore(tmp_path / "repo").open() as store:
        with counted:
            found = import_car(store, car)
        assert counted.hashed == found.blocks - 7 * 12
        _ends_well(store, found, whole)


def test_a_file_that_changed_is_imported_from_its_beginning(repo: DiskStore, car: Path, counted: Counted) -> None:
    about, data = car.stat(), bytearray(car.read_bytes())
    car.write_bytes(data)
    os.utime(car, ns=(about.st_atime_ns, about.st_mtime_ns))  # the change time tells
    with counted:
        found = import_car(repo, car)
    assert counted.hashed == found.blocks
    data[len(data) // 4] ^= 1  # in what was copied already
    car.write_bytes(data)
    with pytest.raises(Exception, match=r"byte \d+"):
        import_car(repo, car)


def test_what_lies_behind_the_last_note_is_cut_off(
    repo: DiskStore, car: Path, whole: tuple[CarSummary, dict[str, bytes]], counted: Counted
) -> None:
    with _part(repo).open("ab") as file:
        file.write(random.Random(1).randbytes(3 * LEAF))
    with counted:
        found = import_car(repo, car)
    assert counted.hashed == found.blocks - 60
    _ends_well(repo, found, whole)


def _shortened(part: Path) -> None:
    os.truncate(part, part.stat().st_size // 2)


def _emptied(part: Path) -> None:
    os.truncate(part, 0)


def _with_another_header(part: Path) -> None:
    with part.open("r+b") as file:
        file.seek(20)
        file.write(b"?")


def _with_zeros(part: Path) -> None:
    with part.open("r+b") as file:
        file.seek(5 * LEAF)
        file.write(bytes(3 * LEAF))


def _with_a_flipped_bit(part: Path) -> None:
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 4  # of a leaf: the heads of the sections are as they were
    with part.open("r+b") as file:
        file.write(data)


HURTS = [_shortened, _emptied, _with_another_header, _with_zeros, _with_a_flipped_bit, Path.unlink]


@pytest.mark.parametrize("hurt", HURTS)
def test_a_copy_that_is_not_what_was_noted_is_made_anew(
    repo: DiskStore, car: Path, whole: tuple[CarSummary, dict[str, bytes]], counted: Counted, hurt: object
) -> None:
    hurt(_part(repo))  # type: ignore[operator]
    with counted:
        found = import_car(repo, car)
    assert counted.hashed == found.blocks
    _ends_well(repo, found, whole)


@pytest.mark.parametrize("name", ["sync_folder", "adopt_car"])
def test_a_copy_that_was_hurt_under_its_final_name_is_made_anew(
    tmp_path: Path, car: Path, whole: tuple[CarSummary, dict[str, bytes]], counted: Counted, name: str
) -> None:
    killed(tmp_path / "repo", car, "DiskStore" if name == "adopt_car" else "car_file", name, 1)
    with DiskStore(tmp_path / "repo").open() as store:
        (copy,) = store.files_folder.glob("*.car")
        _with_a_flipped_bit(copy)
        with counted:
            found = import_car(store, car)
        assert counted.hashed == found.blocks
        _ends_well(store, found, whole)


def test_a_copy_that_is_hurt_between_two_looks_at_it_is_not_adopted(
    tmp_path: Path, car: Path, whole: tuple[CarSummary, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with DiskStore(tmp_path / "repo").open() as store:
        import_car(store, car)
        (copy,) = store.files_folder.glob("*.car")
        real = car_file._take

        def take(*given: object) -> None:
            _with_a_flipped_bit(copy)
            real(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(car_file, "_take", take)
        with pytest.raises(StoreError, match=copy.name) as caught:
            import_car(store, car)
        assert caught.value.hint
        monkeypatch.undo()
        _ends_well(store, import_car(store, car), whole)


@pytest.fixture
def of_another_hash(tmp_path: Path) -> tuple[Path, CID]:
    """A CAR of four blocks with sha2-512, which are kept as nodes and not in the copy."""
    blocks = [random.Random(n).randbytes(LEAF) for n in range(4)]
    cids = [CID(1, RAW, b"\x13\x40" + hashlib.sha512(data).digest()) for data in blocks]
    sections = b"".join(encode_section(cid, data) for cid, data in zip(cids, blocks, strict=True))
    (tmp_path / "512.car").write_bytes(encode_header(cids) + sections)
    time.sleep(0.03)
    return tmp_path / "512.car", cids[3]


def test_a_flipped_bit_in_a_block_of_another_hash_is_not_blamed_on_the_car(
    tmp_path: Path, of_another_hash: tuple[Path, CID]
) -> None:
    path, last = of_another_hash
    killed(tmp_path / "repo", path, times=3)
    with DiskStore(tmp_path / "repo").open() as store:
        _with_a_flipped_bit(_part(store))
        found = import_car(store, path)
        assert (found.blocks, found.missing) == (4, None)
        assert last.matches(store.get(last).data)


def test_a_copy_that_the_disk_does_not_give_back_is_not_blamed_on_the_car(
    tmp_path: Path, of_another_hash: tuple[Path, CID], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, last = of_another_hash
    real = Spool.sync

    def sync(self: Spool) -> None:
        real(self)
        _with_a_flipped_bit(self.path)

    monkeypatch.setattr(Spool, "sync", sync)
    with DiskStore(tmp_path / "repo").open() as store:
        with pytest.raises(StoreError, match="part") as caught:
            import_car(store, path)
        assert "512.car" not in caught.value.message
        assert caught.value.hint
        assert _files(store) == {}
        monkeypatch.undo()
        assert import_car(store, path).missing is None
        assert last.matches(store.get(last).data)


def test_who_goes_on_does_not_touch_the_file_that_another_import_adopts(
    tmp_path: Path, car: Path, whole: tuple[CarSummary, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(tmp_path / "repo", car, "car_file", "sync_folder", 1)  # has its name, and is not in the catalogue
    same = tmp_path / "same.car"
    same.write_bytes(car.read_bytes())
    stamped, adopt, at_the_end, end = (threading.Event() for _ in range(4))
    real_add, real_take = Catalog.add_file, car_file._take

    def add_file(*given: object, **named: object) -> int:
        stamped.set()
        assert adopt.wait(30)
        return real_add(*given, **named)  # type: ignore[arg-type]

    def take(*given: object) -> None:
        if threading.current_thread().name == "second":
            at_the_end.set()
            assert end.wait(30)
        real_take(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(Catalog, "add_file", add_file)
    monkeypatch.setattr(car_file, "_take", take)
    with DiskStore(tmp_path / "repo").open() as store:
        first = threading.Thread(target=import_car, args=(store, same))
        second = threading.Thread(target=import_car, args=(store, car), name="second")
        first.start()
        assert stamped.wait(30)
        second.start()
        try:
            at_the_end.wait(0.5)  # it gets there only if it did not wait for the first
            adopt.set()
            first.join()
            (copy,) = store.files_folder.glob("*.car")
            row = store.catalog.file_at(copy)
            with copy.open("rb") as file:
                assert row is not None
                assert row.trusted(Stamp.of(file.fileno()))
        finally:
            adopt.set()
            end.set()
            first.join()
            second.join()
        _ends_well(store, import_car(store, car), whole)


class _Failing(io.BytesIO):
    """A stream whose medium ends being readable at a byte."""

    def __init__(self, data: bytes, until: int) -> None:
        super().__init__(data)
        self._until = until

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= self._until:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(size)


@pytest.mark.parametrize("until", [0, 1000])
def test_a_car_that_cannot_be_read_is_named_and_not_the_repository(tmp_path: Path, car: Path, until: int) -> None:
    with DiskStore(tmp_path / "repo").open() as store:
        with pytest.raises(ConfigError, match=r"stick/x\.car cannot be read.*output error") as caught:
            import_car(store, Path("/stick/x.car"), _Failing(car.read_bytes(), until))
        assert "permissions" not in caught.value.hint
        assert _files(store) == {}


@pytest.mark.parametrize("what", [import_car, lambda _, path: look(path)])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, what: Callable[[DiskStore, Path], object]) -> None:
    with DiskStore(tmp_path / "repo").open() as store:
        with pytest.raises(ConfigError, match="/proc/self/mem cannot be read"):  # EIO at its first byte
            what(store, Path("/proc/self/mem"))


@pytest.mark.parametrize("text", ["", "{}", "[]", "[[1, 2], 3]", '[[1, 2, 3, 4, 5], -1, 100, "ab", true]', "[" * 9999])
@pytest.mark.parametrize("signed", [True, False])
def test_an_entry_that_makes_no_sense_is_ignored(
    repo: DiskStore, car: Path, whole: tuple[CarSummary, dict[str, bytes]], counted: Counted, text: str, signed: bool
) -> None:
    ((key,),) = repo.catalog.rows("SELECT key FROM journal")
    assert isinstance(key, bytes)
    if signed:
        Journal(repo.catalog).write(key, text)
    else:
        with repo.catalog.transaction() as connection:
            connection.execute("UPDATE journal SET state = ?", (text.encode()[:50] + b"\xff",))
    with counted:
        found = import_car(repo, car)
    assert counted.hashed == found.blocks
    _ends_well(repo, found, whole)


def test_a_flipped_bit_in_the_entry_is_noticed(repo: DiskStore, car: Path, counted: Counted) -> None:
    ((key, state),) = repo.catalog.rows("SELECT key, state FROM journal")
    assert isinstance(key, bytes)
    assert isinstance(state, str)
    for at in range(0, len(state), 7):
        with repo.catalog.transaction() as connection:
            odd = state[:at] + chr(ord(state[at]) ^ 1) + state[at + 1 :]
            connection.execute("UPDATE journal SET state = ?", (odd,))
        assert Journal(repo.catalog).read(key) is None


def test_an_interrupted_import_goes_on_and_a_failed_one_leaves_nothing(
    tmp_path: Path, car: Path, whole: tuple[CarSummary, dict[str, bytes]], counted: Counted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    real = Spool.add

    def interrupted(error: BaseException) -> None:
        def add(self: Spool, cid: CID, data: bytes) -> None:
            if len(self.sections) == 50:
                raise error
            real(self, cid, data)

        monkeypatch.setattr(Spool, "add", add)
        with DiskStore(tmp_path / "repo").open() as store, pytest.raises(type(error)):
            import_car(store, car)
        monkeypatch.setattr(Spool, "add", real)

    monkeypatch.setattr(car_resume, "_BATCH_S", -1.0)
    interrupted(KeyboardInterrupt())
    with DiskStore(tmp_path / "repo").open() as store:
        with counted:
            found = import_car(store, car)
        assert counted.hashed == found.blocks - 50
        _ends_well(store, found, whole)
        age(store)
        collect(store)
    interrupted(FormatError("no CAR"))
    with DiskStore(tmp_path / "repo").open() as store:
        assert _files(store) == {}
        assert store.catalog.rows("SELECT * FROM journal") == []


def test_two_imports_of_one_file_at_the_same_time_do_not_meet(
    repo: DiskStore, car: Path, whole: tuple[CarSummary, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_the_middle, go_on = threading.Event(), threading.Event()
    real, found = Spool.add, []

    def add(self: Spool, cid: CID, data: bytes) -> None:
        real(self, cid, data)
        if threading.current_thread().name == "first" and len(self.sections) == 80:
            in_the_middle.set()
            assert go_on.wait(30)

    monkeypatch.setattr(Spool, "add", add)
    monkeypatch.setattr(car_resume, "_BATCH_S", -1.0)
    first = threading.Thread(target=lambda: found.append(import_car(repo, car)), name="first")
    first.start()
    assert in_the_middle.wait(30)
    before = _part(repo).read_bytes()
    try:
        _ = import_car(repo, car)
        assert tree_of(repo, _.roots[0]) == FILES
        assert _part(repo).read_bytes() == before, "the second had a copy of its own"
    finally:
        go_on.set()
        first.join()
    _ends_well(repo, found[0], whole)


def test_many_imports_of_one_file_at_the_same_time_keep_one(
    tmp_path: Path, car: Path, whole: tuple[CarSummary, dict[str, bytes]]
) -> None:
    with DiskStore(tmp_path / "repo").open() as store:
        threads = [threading.Thread(target=import_car, args=(store, car)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        _ends_well(store, import_car(store, car), whole)


def test_a_gc_takes_what_nobody_goes_on_with_and_nothing_under_a_lease(
    repo: DiskStore, car: Path, whole: tuple[CarSummary, dict[str, bytes]], counted: Counted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with lease(repo.folder, "import"):
        os.utime(_part(repo))
        assert collect(repo).files == 0
    real = car_file._take

    def take(*given: object) -> None:
        collect(repo)
        real(*given)  # type: ignore[arg-type]

    os.utime(_part(repo), ns=(1, 1))
    monkeypatch.setattr(car_file, "_take", take)
    with counted:
        found = import_car(repo, car)
    assert counted.hashed == found.blocks - 60
    _ends_well(repo, found, whole)
    monkeypatch.undo()
    age(repo)
    collect(repo)
    assert _files(repo) == {}
    assert repo.catalog.rows("SELECT * FROM journal") == []
    _ends_well(repo, import_car(repo, car), whole)


def test_a_gc_takes_what_a_kill_left(repo: DiskStore, car: Path) -> None:
    age(repo)
    assert collect(repo, dry_run=True).files == 1
    assert len(_files(repo)) == len(repo.catalog.rows("SELECT * FROM journal")) == 1
    assert collect(repo).files == 1
    assert (_files(repo), repo.catalog.rows("SELECT * FROM journal")) == ({}, [])


def test_of_a_pipe_and_of_a_file_of_this_moment_nothing_is_noted(tmp_path: Path, car: Path) -> None:
    (tmp_path / "young.car").write_bytes(car.read_bytes())
    future = time.time_ns() + 10**12
    os.utime(tmp_path / "young.car", ns=(future, future))
    with DiskStore(tmp_path / "repo").open() as store, car.open("rb") as stream:
        import_car(store, Path("-"), stream)
        import_car(store, tmp_path / "young.car")
        assert store.catalog.rows("SELECT * FROM journal") == []
        assert len(_files(store)) == 1

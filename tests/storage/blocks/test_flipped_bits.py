"""`check` finds every flipped bit, and says in which file and which block: `FLIPPED_BITS` of them, 1,000 if not set.

Six of ten lie in what holds data (nodes, packed shards, the user's files, a CAR), one in the leaf index, three in the
catalogue. Of the catalogue count those that change anything that can be read from it: the rest of its pages is
unused, and a flip there has to be harmless.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from holdfast.storage.blocks.check import Checked, Fault, check
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.journal import Journal
from holdfast.storage.blocks.stat import stat
from holdfast.storage.cid import CID
from holdfast.storage.errors import StoreError
from holdfast.storage.node.pin_records import PinRecords
from support.every_kind import LEAF, every_kind

FLIPS = int(os.environ.get("FLIPPED_BITS", "1000"))
TABLES = ("files", "names", "pins", "packed", "journal", "echoes", "sqlite_sequence")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = every_kind(tmp_path_factory.mktemp("bits"))
    with DiskStore(place / "repo").open() as store:
        pins, root = PinRecords(store.catalog), store.catalog.names()["a"]
        pins.add(root, "again", ["https://example.org/"], {"who": "me"})
        pins.add(root, "twice", [], {})
        Journal(store.catalog).write(b"k" * 32, '["how far", 7]')
    return place


@pytest.fixture
def numbers() -> random.Random:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


def _flip(path: Path, at: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


def test_in_nodes_shards_cars_and_the_users_files(place: Path, numbers: random.Random) -> None:
    flipped = 0
    for folder, share in (("repo", 0.45), ("other", 0.15)):
        with DiskStore(place / folder).open() as store:
            done = Checked()
            assert list(check(store, done)) == []
            assert done.files > 0
            places = [*store.nodes.folder.glob("??/*"), *store.files_folder.iterdir()]
            places += (place / "tokens").iterdir() if folder == "repo" else ()
            for _ in range(max(round(FLIPS * share / 20), 1)):
                # twenty at a time, in different files or far apart: each must be named
                undo: list[tuple[Path, int, int, os.stat_result]] = []
                for path in (numbers.sample(places, min(20, len(places))) * 20)[:20]:
                    about = path.stat()
                    undo.append((path, numbers.randrange(about.st_size), numbers.randrange(8), about))
                    _flip(*undo[-1][:3])
                wanted = {str(path) for path, *_ in undo}
                flipped += len(undo)
                found = list(check(store, Checked()))
                leaves = {(str(path), at - at % LEAF) for path, at, *_ in undo if path.suffix == ".bin"}
                assert {(fault.file, fault.offset) for fault in found} >= leaves
                assert {fault.file for fault in found} >= wanted, f"{wanted - {fault.file for fault in found}}"
                for fault in found:
                    assert CID.parse(fault.cid)
                for path, at, bit, about in reversed(undo):
                    _flip(path, at, bit)
                    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
            assert list(check(store, Checked())) == []
    assert flipped >= FLIPS * 0.6


def test_in_the_leaf_index(place: Path, tmp_path: Path, numbers: random.Random) -> None:
    """The segment is named and mended: the next check finds at most the leaf whose entry was hit, and no other."""
    for folder, share in (("repo", 0.06), ("other", 0.04)):
        copy = tmp_path / folder
        shutil.copytree(place / folder, copy)
        right = {path.name: path.read_bytes() for path in (copy / "leaves").glob("*.leaves")}
        database = (copy / "catalog.db").read_bytes()
        for _ in range(round(FLIPS * share)):
            (copy / "catalog.db").write_bytes(database)
            for path in (copy / "leaves").iterdir():
                path.unlink()
            for name, data in right.items():
                (copy / "leaves" / name).write_bytes(data)
            path = copy / "leaves" / numbers.choice(sorted(right))
            _flip(path, numbers.randrange(len(right[path.name])), numbers.randrange(8))
            with DiskStore(copy).open() as store:
                faults = list(check(store, Checked()))
                assert str(path) in {fault.file for fault in faults}
                assert not path.exists()
                again = list(check(store, Checked()))
            assert str(path) not in {fault.file for fault in again}
            assert len(again) <= 2, "a leaf, and a root that needs it"
            assert len(_leaves(copy)) >= sum((len(data) - 16) // 48 for data in right.values()) - 1


def _leaves(repo: Path) -> list[tuple[bytes, int, int, int]]:
    """Every entry, read as docs/formats.md has it."""
    found = []
    for path in (repo / "leaves").glob("*.leaves"):
        data = path.read_bytes()
        _, count = struct.unpack_from("<8sQ", data)
        for n in range(count):
            file, length, offset = struct.unpack_from("<IIQ", data, 16 + 32 * count + 16 * n)
            found.append((data[16 + 32 * n : 48 + 32 * n], file, length, offset))
    return found


Dump = dict[str, list[tuple[object, ...]]]


def _dump(repo: Path) -> Dump | str:
    """Everything that can be read from a catalogue, or why nothing can.

    Of `sqlite_sequence` only whether it is above every id in use, and has room: what it is else changes nothing.
    """
    try:
        with closing(sqlite3.connect(f"file:{repo}/catalog.db?mode=ro&immutable=1", uri=True)) as database:
            database.text_factory = bytes
            found: Dump = {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in TABLES}
            schema = database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return repr(error)
    found["schema"] = [
        (kind, name, table, b" ".join(line.split(b"--")[0] for line in (sql or b"").splitlines()).split())
        for kind, name, table, sql in schema
    ]
    used = max(
        [row[0] for row in found["files"] if isinstance(row[0], int)] + [file for _, file, _, _ in _leaves(repo)]
    )
    found["sqlite_sequence"] = [
        (name, isinstance(seq, int) and used <= seq < 1 << 32) for name, seq in found["sqlite_sequence"]
    ]
    return found


def _reported(repo: Path) -> tuple[bool, list[Fault]]:
    """What `repo verify` would say of the catalogue; and nothing but a typed error may keep it from saying so."""
    try:
        with DiskStore(repo).open(create=False) as store:
            with suppress(StoreError):
                stat(store)
            faults = [fault for fault in check(store, Checked()) if fault.file == str(repo / "catalog.db")]
            return bool(faults), faults
    except StoreError as error:
        assert "catalog.db" in error.message
        assert error.hint
        return True, []


def test_in_the_catalogue(place: Path, tmp_path: Path, numbers: random.Random) -> None:
    named = 0
    for folder, share in (("repo", 0.25), ("other", 0.05)):
        copy = tmp_path / folder
        shutil.copytree(place / folder, copy)
        assert _reported(copy) == (False, [])
        path = copy / "catalog.db"
        data, before = path.read_bytes(), _dump(copy)
        assert isinstance(before, dict)
        changed = 0
        while changed < round(FLIPS * share):
            at, bit = numbers.randrange(len(data)), numbers.randrange(8)
            for left in copy.glob("catalog.db-*"):  # of one that could not be closed in order
                left.unlink()
            path.write_bytes(data)
            _flip(path, at, bit)
            after = _dump(copy)
            if after == before and numbers.random() < 0.9:  # unused: some of them are tried all the same
                continue
            said, faults = _reported(copy)
            if after == before:
                continue
            changed += 1
            assert said, f"byte {at}, bit {bit}: {list(_differences(before, after))}"
            # rows cannot be told apart in broken pages, or where a name in the schema is another one
            if any(words in fault.reason for fault in faults for words in ("from a backup", "cannot be read")):
                continue
            for words in _of_one_row(before, after):
                named += 1
                text = [fault.reason + fault.cid for fault in faults]
                assert any(word in one for one in text for word in words), f"byte {at}, bit {bit}: {words} in {text}"
    assert named > FLIPS * 0.05


def _differences(before: Dump, after: Dump | str) -> Iterator[object]:
    if isinstance(after, str):
        yield after
        return
    for table in before:
        if before[table] != after[table]:
            yield table, [row for row in after[table] if row not in before[table]]


def _of_one_row(before: Dump, after: Dump | str) -> Iterator[set[str]]:
    """If one row of a table, or its echo, is another one now: the words of which one must be in what is said."""
    columns = {b"files": (1, 3), b"names": (0, 1), b"pins": (0, 1)}
    if isinstance(after, str):
        return
    for table in ("files", "names", "pins", "echoes"):
        gone = [row for row in before[table] if row not in after[table]]
        come = [row for row in after[table] if row not in before[table]]
        if len(gone) != 1 or len(come) != 1:
            continue
        of = gone[0][0] if table == "echoes" else table.encode()
        if of not in columns:
            continue
        name, root = columns[of]
        if table == "echoes":
            gone = come = [row for row in before[of.decode()] if row[0] == gone[0][1]]
        words = {row[name].decode(errors="backslashreplace") for row in (*gone, *come) if isinstance(row[name], bytes)}
        yield words | {str(CID.from_bytes(row[root])) for row in gone if isinstance(row[root], bytes)}

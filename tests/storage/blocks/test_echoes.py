"""Every row of the catalogue has a second copy, whoever writes it and however; one that rots does not take it along."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.pipeline.publish import publish
from holdfast.storage.blocks import catalog_check
from holdfast.storage.blocks.catalog import SCHEMA
from holdfast.storage.blocks.check import Checked, check
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.echoes import TABLE, keys, values
from holdfast.storage.blocks.journal import Journal
from holdfast.storage.node.pin_records import PinRecords
from holdfast.storage.pins.pin import Status


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    for number in range(3):
        (tmp_path / f"src/{number}.bin").write_bytes(random.Random(number).randbytes(1000))
    publish(tmp_path / "src", name="a", repo=tmp_path / "repo", format="tokens", dtype="uint16")
    return tmp_path / "repo"


def reasons(store: DiskStore, *, mend: bool = False) -> list[str]:
    return [reason for _, reason in catalog_check.rows(store.catalog, mend=mend)]


def rot(store: DiskStore, statement: str) -> None:
    """Change rows as a flipped bit does: no trigger sees it."""
    with closing(sqlite3.connect(store.catalog.path)) as database:
        rows = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in rows:
            database.execute(f"DROP TRIGGER {name}")
        database.execute(statement)
        for _, sql in rows:
            database.execute(sql)
        database.commit()


def test_all_that_is_written_has_its_echo(repo: Path) -> None:
    with DiskStore(repo).open() as store:
        pins, root = PinRecords(store.catalog), store.catalog.names()["a"]
        record = pins.add(root, "it's", ["https://example.org/"], {"who": "\u00e9, 'x'"})
        assert record is not None
        pins.update(record.requestid, Status.PINNING, {"bytes": "7"})
        replaced = pins.add(root, "other", [], {}, replaces=record.requestid)
        assert replaced is not None
        journal = Journal(store.catalog)
        for state in ("one", "two"):
            journal.write(b"key", state)
        journal.write(b"other", "x")
        journal.drop(b"other")
        store.catalog.keep_files([1, 2])
        store.catalog.distrust(3)
        store.catalog.set_indexed([3])
        with store.catalog.transaction() as connection:
            connection.execute("DELETE FROM files WHERE id = 2")
        assert reasons(store) == []
        assert list(catalog_check.structure(store.catalog)) == []
        for table in keys(SCHEMA):
            (count,) = store.catalog.rows(f"SELECT count(*) FROM {table}")[0]
            assert store.catalog.rows(f"SELECT count(*) FROM {TABLE} WHERE of = ?", (table,)) == [(count,)]


def test_a_catalogue_from_before_gets_echoes_once(repo: Path) -> None:
    with closing(sqlite3.connect(repo / "catalog.db")) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute(f"DROP TABLE {TABLE}")
        database.commit()
    with DiskStore(repo).open() as store:
        assert reasons(store) == []
        assert list(check(store, Checked())) == []
        rot(store, "UPDATE names SET published_ns = published_ns + 1")
    with DiskStore(repo).open() as store:
        assert len(reasons(store)) == 1, "opening it again copies nothing"


def test_who_knows_nothing_of_echoes_keeps_them(repo: Path) -> None:
    """An older holdfast, or whoever writes with SQLite alone."""
    with closing(sqlite3.connect(repo / "catalog.db")) as database:
        database.execute("INSERT INTO names VALUES ('b', x'00', 1) ON CONFLICT (name) DO UPDATE SET root = x'01'")
        database.execute("INSERT INTO names VALUES ('b', x'00', 1) ON CONFLICT (name) DO UPDATE SET root = x'01'")
        database.execute("INSERT OR REPLACE INTO packed VALUES (x'00', 1, 'x')")
        database.execute("INSERT OR REPLACE INTO packed VALUES (x'00', 2, 'y')")
        database.execute("DELETE FROM files WHERE id = 1")
        database.commit()
    with DiskStore(repo).open() as store:
        assert reasons(store) == []


def test_a_row_that_rots_keeps_its_echo_through_the_next_stamp_until_it_is_hashed_anew(repo: Path) -> None:
    with DiskStore(repo).open() as store:
        rot(store, "UPDATE files SET used_ns = 5, inode = inode + 1 WHERE id = 5")
        store.catalog.keep_files([5])
        (reason,) = reasons(store)
        assert reason.startswith("the row of file ")
        faults = list(check(store, Checked()))
        assert [fault.file for fault in faults] == [str(repo / "catalog.db")]
        assert faults[0].cid
        assert list(check(store, Checked())) == [], "the file was hashed, and its row written anew"


def test_what_nobody_needs_is_taken_out_and_what_is_lost_is_named(repo: Path) -> None:
    with DiskStore(repo).open() as store:
        Journal(store.catalog).write(b"key", "state")
        rot(store, "UPDATE journal SET state = 'stats'")
        assert len(reasons(store, mend=True)) == 1
        assert reasons(store) == []
        assert Journal(store.catalog).read(b"key") is None
        rot(store, "DELETE FROM pins")
        (reason,) = reasons(store, mend=True)
        assert "the pin local-a is missing" in reason
        assert len(reasons(store)) == 1, "it is said until it is pinned again"
        publish(repo.parent / "src", name="a", repo=repo, format="tokens", dtype="uint16")
        assert reasons(store) == []


def test_an_id_that_would_be_given_again_is_named(repo: Path) -> None:
    with DiskStore(repo).open() as store:
        assert list(check(store, Checked())) == []
        for change in ("seq = 2", "seq = 1 << 40", "name = 'filez'"):
            rot(store, f"UPDATE sqlite_sequence SET {change}")
            (fault,) = check(store, Checked())
            assert "the next id of a file" in fault.reason
            rot(store, "DELETE FROM sqlite_sequence")
            rot(store, "INSERT INTO sqlite_sequence SELECT 'files', max(id) FROM files")


def test_values_of_an_echo_are_read_back() -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        row = (7, b"\x00'a,", "it's, a 'text'", "")
        (text,) = database.execute(
            "SELECT quote(?) || ',' || quote(?) || ',' || quote(?) || ',' || quote(?)", row
        ).fetchone()
    assert values(text.encode()) == [b"7", b"\x00'a,", b"it's, a 'text'", b""]
    values(text.encode()[3:])


def test_the_cost_of_a_row_does_not_grow_with_their_number(tmp_path: Path) -> None:
    """A comparison that SQLite cannot look up makes every UPDATE read every echo: counted in steps of its machine."""
    steps: list[int] = []
    for count in (100, 3000):
        with DiskStore(tmp_path / str(count)).open() as store, store.catalog.transaction() as connection:
            connection.executemany(
                "INSERT INTO files (path, owned, cid, leaf_size, size, mtime_ns, ctime_ns, inode, hashed_at_ns,"
                " framing, indexed, used_ns) VALUES (?, 0, ?, 1, 1, 1, 1, 1, 1, 0, 0, 0)",
                [(b"/%d" % number, b"%d" % number) for number in range(count)],
            )
            passed = [0]

            def one(passed: list[int] = passed) -> None:
                passed[0] += 1

            connection.set_progress_handler(one, 1)
            connection.execute("UPDATE files SET indexed = 1 WHERE id = 50")
            connection.set_progress_handler(None, 0)
            steps.append(passed[0])
    assert steps[1] < 2 * steps[0]

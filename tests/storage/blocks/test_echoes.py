"""Every row of the catalogue has a second copy, whoever writes it and however; one that rots does not take it along."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.pipeline.publish import publish
from holdfast.storage.blocks import catalog_check, echoes
from holdfast.storage.blocks.catalog import SCHEMA
from holdfast.storage.blocks.check import Checked, check
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.echoes import TABLE, beside, keys, lost, parsed, values
from holdfast.storage.blocks.journal import Journal
from holdfast.storage.blocks.stat import stat
from holdfast.storage.errors import StoreError
from holdfast.storage.node.pin_records import PinRecords
from holdfast.storage.pins.pin import Status
from support.rot import rot


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    for number in range(3):
        (tmp_path / f"src/{number}.bin").write_bytes(random.Random(number).randbytes(1000))
    publish(tmp_path / "src", name="a", repo=tmp_path / "repo", format="tokens", dtype="uint16")
    return tmp_path / "repo"


def reasons(store: DiskStore, *, mend: bool = False) -> list[str]:
    return [reason for _, reason in catalog_check.rows(store.catalog, mend=mend)]


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
        (reason,) = reasons(store)
        assert "the pin local-a is missing" in reason
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
    assert parsed(text.encode()) == row
    for start in range(1, len(text)):
        values(text.encode()[start:])
        assert parsed(text.encode()[start:]) != row
    assert parsed(b"1,(SELECT 2)") == parsed(b"1,,2") == parsed(b"NULL") == ()


@pytest.mark.parametrize("table", sorted(keys(SCHEMA)))
def test_a_lost_row_is_named_whatever_its_table(repo: Path, table: str) -> None:
    with DiskStore(repo).open() as store:
        Journal(store.catalog).write(b"key", "state")
        Journal(store.catalog).write(b"other", "state")
        with store.catalog.transaction() as connection:
            connection.execute("INSERT INTO packed VALUES (x'00', 1, 'x'), (x'01', 1, 'x')")
        assert reasons(store) == []
        rot(
            store,
            f"DELETE FROM {table} WHERE rowid = 1" if table != "packed" else "DELETE FROM packed WHERE key = x'00'",
        )
        (reason,) = reasons(store)
        assert "is missing, its second copy is here" in reason


def _triggers(repo: Path) -> dict[str, str]:
    with closing(sqlite3.connect(repo / "catalog.db")) as database:
        return dict(database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall())


def test_triggers_of_an_earlier_version_are_replaced_and_not_accused(repo: Path) -> None:
    ours = _triggers(repo)
    with closing(sqlite3.connect(repo / "catalog.db")) as database:
        for name, sql in ours.items():
            database.execute(f"DROP TRIGGER {name}")
            database.execute(sql.replace("key = +OLD.", "key IS OLD."))
        database.commit()
    assert _triggers(repo) != ours
    with DiskStore(repo).open(create=False) as store:
        assert list(check(store, Checked())) == []
    assert _triggers(repo) == ours


def test_what_a_newer_holdfast_added_is_not_accused(repo: Path) -> None:
    with closing(sqlite3.connect(repo / "catalog.db")) as database:
        database.execute("CREATE TABLE later (key TEXT PRIMARY KEY)")
        database.execute("CREATE TRIGGER later_t AFTER INSERT ON later BEGIN SELECT 1; END")
    with DiskStore(repo).open(create=False) as store:
        assert list(check(store, Checked())) == []


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE sqlite_master SET sql = replace(sql, 'AFTER DELETE', 'AFTER INSERT') WHERE name = 'pins_echo_delete'",
        "UPDATE sqlite_master SET sql = replace(sql, 'pins (root)', 'pins (name)') WHERE name = 'pins_root'",
        "DELETE FROM sqlite_master WHERE name = 'names_echo_update'",
    ],
)
def test_a_damaged_catalogue_is_not_written_to_by_who_checks_it(repo: Path, harm: str) -> None:
    with closing(sqlite3.connect(repo / "catalog.db")) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute(harm)
        database.commit()
    before = (repo / "catalog.db").read_bytes()
    with DiskStore(repo).open(create=False) as store:
        stat(store)
        assert {fault.file for fault in check(store, Checked())} == {str(repo / "catalog.db")}
        assert not [path for path in repo.glob("catalog.db-wal") if path.stat().st_size]
    assert (repo / "catalog.db").read_bytes() == before


def test_an_older_catalogue_without_some_tables_gets_them_when_it_was_found_right(repo: Path) -> None:
    with closing(sqlite3.connect(repo / "catalog.db")) as database:
        database.execute("DELETE FROM journal")
        database.execute("DROP TABLE journal")
        database.commit()
    with DiskStore(repo).open(create=False) as store:
        assert list(check(store, Checked())) == []
        assert store.catalog.look("SELECT * FROM journal") == []


def _steps(connection: sqlite3.Connection, statement: str) -> int:
    passed = [0]

    def one() -> None:
        passed[0] += 1

    connection.set_progress_handler(one, 1)
    connection.execute(statement).fetchall()
    connection.set_progress_handler(None, 0)
    return passed[0]


def _fill(connection: sqlite3.Connection, count: int) -> None:
    for number in range(count):
        key, text = b"%d" % number, f"n{number}"
        connection.execute(
            "INSERT INTO files (path, owned, cid, leaf_size, size, mtime_ns, ctime_ns, inode, hashed_at_ns,"
            " framing, indexed, used_ns) VALUES (?, 0, ?, 1, 1, 1, 1, 1, 1, x'', 0, 0)",
            (key, key),
        )
        connection.execute("INSERT INTO names VALUES (?, ?, 1)", (text, key))
        connection.execute("INSERT INTO pins VALUES (?, ?, '', 'pinned', ?, '', '', '')", (text, key, number))
        connection.execute("INSERT INTO packed VALUES (?, 1, '')", (key,))
        connection.execute("INSERT INTO journal VALUES (?, '', 1)", (key,))


@pytest.mark.parametrize("clauses", [beside, lost])
def test_the_cost_of_a_comparison_grows_with_the_rows_and_not_with_their_square(
    tmp_path: Path, clauses: Callable[[str, str], str]
) -> None:
    steps: dict[str, list[int]] = {table: [] for table in keys(SCHEMA)}
    for count in (100, 1000):
        with DiskStore(tmp_path / str(count)).open() as store, store.catalog.transaction() as connection:
            _fill(connection, count)
            for table, found in steps.items():
                found.append(_steps(connection, f"SELECT 1 {clauses(SCHEMA, table)}"))
    for table, (few, many) in steps.items():
        assert many < 15 * few, table


def test_the_cost_of_a_row_does_not_grow_with_their_number(tmp_path: Path) -> None:
    """A comparison that SQLite cannot look up makes every UPDATE read every echo: counted in steps of its machine."""
    steps: list[int] = []
    for count in (100, 3000):
        with DiskStore(tmp_path / str(count)).open() as store, store.catalog.transaction() as connection:
            _fill(connection, count)
            steps.append(_steps(connection, "UPDATE files SET indexed = 1 WHERE id = 50"))
    assert steps[1] < 2 * steps[0]


def test_a_new_catalogue_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle, or stopped by an error: half a schema would be taken for damage."""
    made = echoes._triggers

    def fail(schema: str, table: str, *rest: str) -> dict[str, str]:
        if table == "packed":
            raise sqlite3.OperationalError("stopped")
        return made(schema, table, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(echoes, "_triggers", fail)
        with pytest.raises(StoreError, match="stopped"):
            DiskStore(tmp_path).open()
    with closing(sqlite3.connect(tmp_path / "catalog.db")) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    with DiskStore(tmp_path).open() as store:
        assert list(check(store, Checked())) == []

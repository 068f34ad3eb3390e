"""One flipped bit in a row never costs data: not the user's, not what is pinned, and there is a way back."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.pipeline.publish import publish
from holdfast.storage.blocks import catalog_check
from holdfast.storage.blocks.catalog import FileRow
from holdfast.storage.blocks.check import Checked, check
from holdfast.storage.blocks.collect import collect
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.hashing import HashedFile
from holdfast.storage.blocks.stamp import Stamp
from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import StoreError
from holdfast.storage.node.pin_local import LocalPins
from support.ageing import age
from support.rot import rot

KIB = 1 << 10


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """`t`: a file of the user's. `p`: packed shards, ours."""
    for folder, suffix in (("tokens", "bin"), ("text", "txt")):
        (tmp_path / folder).mkdir()
        data = random.Random(folder).randbytes(60 * KIB)
        (tmp_path / folder / f"f.{suffix}").write_bytes(data if suffix == "bin" else data.hex().encode())
    publish(tmp_path / "tokens", name="t", repo=tmp_path / "repo", format="tokens", dtype="uint16", leaf_size=16 * KIB)
    publish(tmp_path / "text", name="p", repo=tmp_path / "repo", leaf_size=16 * KIB, shard_size=64 * KIB)
    return tmp_path / "repo"


def _is_as_before(store: DiskStore, row: FileRow) -> None:
    now = store.catalog.row_at(row.path)
    assert now is not None
    assert replace(now, hashed_at_ns=0) == replace(row, hashed_at_ns=0)


def _everything(repo: Path) -> dict[Path, bytes]:
    folders = [repo / "files", repo / "nodes", repo.parent / "tokens"]
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("verified", [True, False])
def test_a_file_of_the_user_is_not_deleted_because_its_row_says_that_it_is_ours(repo: Path, *, verified: bool) -> None:
    path = repo.parent / "tokens/f.bin"
    with DiskStore(repo).open() as store:
        row = store.catalog.row_at(path)
        assert row is not None
        rot(store, f"UPDATE files SET owned = 1 WHERE id = {row.id}")
        if verified:
            assert len(list(check(store, Checked()))) == 1
            assert list(check(store, Checked())) == []
            _is_as_before(store, row)
        LocalPins(store).rm("local-t")
        age(store)
    if not verified:  # nor does anything else say so: echoes are written anew
        with closing(sqlite3.connect(repo / "catalog.db")) as database:
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                database.execute(f"DROP TRIGGER {name}")
            database.execute("DROP TABLE echoes")
            database.commit()
    with DiskStore(repo).open() as store:
        assert collect(store).forgotten == 1
        assert path.exists()


def test_whose_a_file_is_is_set_right_also_where_row_and_echo_agree(repo: Path) -> None:
    with DiskStore(repo).open() as store:
        with store.catalog.transaction() as connection:
            connection.execute("UPDATE files SET owned = 1 - owned")
        assert list(check(store, Checked())) == []
        assert catalog_check.odd_files(store.catalog) == set()
        for owned, path in store.catalog.rows("SELECT owned, path FROM files"):
            assert isinstance(path, bytes)
            assert bool(owned) == path.startswith(b"files/")


def test_what_lies_in_our_folder_is_told_by_where_it_is(repo: Path) -> None:
    with DiskStore(repo).open() as store:
        assert store.catalog.owns(repo / "files/a.tar")
        for path in (repo / "files/..", repo / "files/x/../../a", repo / "files", repo / "nodes/a", Path("/files/a")):
            assert not store.catalog.owns(path)


_HARM = {
    "status": "UPDATE pins SET status = 'qinned' WHERE requestid = 'mine'",
    "codec of a pin": "UPDATE pins SET root = CAST(x'0171' || substr(root, 3) AS BLOB) WHERE requestid = 'mine'",
    "unknown codec": "UPDATE pins SET root = CAST(x'0150' || substr(root, 3) AS BLOB) WHERE requestid = 'mine'",
    "root": "UPDATE pins SET root = CAST(x'02' || substr(root, 2) AS BLOB) WHERE requestid = 'mine'",
    "text for a root": "UPDATE pins SET root = CAST('abc' AS TEXT) WHERE requestid = 'mine'",
    "key": "UPDATE pins SET requestid = 'mind' WHERE requestid = 'mine'",
    "lost": "DELETE FROM pins WHERE requestid = 'mine'",
    "name": "UPDATE names SET root = (SELECT root FROM names WHERE name = 't') WHERE name = 'p'",
    "echo": "UPDATE echoes SET row = replace(row, 'pinned', 'pinnee') WHERE key = 'mine'",
    "key of the echo": "UPDATE echoes SET key = 'mind' WHERE key = 'mine'",
}


@pytest.mark.parametrize("harm", sorted(_HARM))
def test_a_gc_frees_nothing_while_names_and_pins_are_in_doubt(repo: Path, harm: str) -> None:
    with DiskStore(repo).open() as store:
        _pin(store)
        age(store)
        rot(store, _HARM[harm])
        before = _everything(repo)
        for dry_run in (True, False):
            with pytest.raises(StoreError, match="nothing was freed") as caught:
                collect(store, dry_run=dry_run)
            assert "holdfast repo verify" in caught.value.hint
        assert _everything(repo) == before


def _pin(store: DiskStore) -> None:
    """`p` by a pin called `mine` instead of the one that goes with its name."""
    with store.catalog.transaction() as connection:
        rows = connection.execute("DELETE FROM pins WHERE requestid = 'local-p' RETURNING *").fetchall()
        connection.executemany("INSERT INTO pins VALUES ('mine', ?, ?, ?, ?, ?, ?, ?)", [row[1:] for row in rows])
    assert list(catalog_check.roots(store.catalog)) == []


@pytest.mark.parametrize("harm", sorted(set(_HARM) - {"name", "codec of a pin"}))
def test_verify_sets_right_what_makes_no_sense_and_a_gc_goes_on(repo: Path, harm: str) -> None:
    with DiskStore(repo).open() as store:
        _pin(store)
        before = store.catalog.rows("SELECT * FROM pins ORDER BY requestid")
        rot(store, _HARM[harm])
        found = [fault.reason for fault in check(store, Checked())]
        assert found
        assert all("only one of them makes sense" in reason for reason in found), found
        assert list(check(store, Checked())) == []
        assert store.catalog.rows("SELECT * FROM pins ORDER BY requestid") == before
        age(store)
        collect(store)
        assert list(check(store, Checked())) == []


@pytest.mark.parametrize("harm", ["name", "codec of a pin"])
def test_where_both_copies_make_sense_the_user_is_asked(repo: Path, harm: str) -> None:
    with DiskStore(repo).open() as store:
        _pin(store)
        rot(store, _HARM[harm])
        for _ in range(2):
            assert any("again" in fault.reason for fault in check(store, Checked()))
        if harm == "name":
            publish(repo.parent / "text", name="p", repo=repo, leaf_size=16 * KIB, shard_size=64 * KIB)
        else:
            LocalPins(store).rm("mine")
        assert list(check(store, Checked())) == []
        collect(store)


def test_a_root_whose_links_nobody_can_read_stops_a_gc_and_is_named(repo: Path) -> None:
    with DiskStore(repo).open() as store:
        odd = CID.of(0x70, b"\xff\xff")
        store.put(odd, b"\xff\xff")
        store.catalog.set_name("odd", odd, 1)
        with pytest.raises(StoreError, match="nothing was freed"):
            collect(store)
        assert [fault.cid for fault in check(store, Checked())] == [str(odd)]


def test_a_status_that_nobody_knows_stops_a_gc_also_where_its_echo_agrees(repo: Path) -> None:
    with DiskStore(repo).open() as store:
        with store.catalog.transaction() as connection:
            connection.execute("UPDATE pins SET status = 'qinned' WHERE requestid = 'local-p'")
        with pytest.raises(StoreError, match="qinned"):
            collect(store)


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE files SET id = 77 WHERE id = (SELECT max(id) FROM files)",
        "UPDATE files SET path = CAST('files/0' AS BLOB) WHERE id = (SELECT max(id) FROM files)",
        "UPDATE files SET cid = CAST(x'00' || substr(cid, 2) AS BLOB) WHERE id = (SELECT max(id) FROM files)",
    ],
)
def test_a_gc_leaves_files_whose_rows_are_in_doubt(repo: Path, harm: str) -> None:
    with DiskStore(repo).open() as store:
        for name in ("t", "p"):
            LocalPins(store).rm(f"local-{name}")
        age(store)
        rot(store, harm)
        before = set(store.files_folder.iterdir())
        (row,) = catalog_check.odd_files(store.catalog)
        collect(store)
        left = set(store.files_folder.iterdir())
        assert len(left) == 1, "the others go"
        assert left < before
        assert store.catalog.rows("SELECT id FROM files") == [(row,)]


def test_a_row_that_others_changed_or_dropped_meanwhile_is_not_written_back(repo: Path) -> None:
    path = repo.parent / "tokens/f.bin"
    with DiskStore(repo).open() as store:
        row = store.catalog.row_at(path)
        assert row is not None
        hashed = HashedFile(path, Stamp(row.stamp.size, 1, 1, 1), 7, 0, b"")
        with store.catalog.transaction() as connection:
            connection.execute("UPDATE files SET cid = ? WHERE id = ?", (bytes(CID.of(RAW, b"other")), row.id))
        before = store.catalog.rows("SELECT * FROM files")
        for anew in (True, False):
            store.catalog.confirm(row, hashed, owned=False, framing=b"", anew=anew)
        assert store.catalog.rows("SELECT * FROM files") == before
        with store.catalog.transaction() as connection:
            connection.execute("DELETE FROM files WHERE id = ?", (row.id,))
        store.catalog.confirm(row, hashed, owned=False, framing=b"", anew=True)
        assert store.catalog.row_at(path) is None
        assert path.exists()


def test_a_flipped_framing_of_what_is_no_car_is_set_right_and_the_file_keeps_its_id(repo: Path) -> None:
    path = repo.parent / "tokens/f.bin"
    with DiskStore(repo).open() as store:
        row = store.catalog.row_at(path)
        assert row is not None
        rot(store, f"UPDATE files SET framing = x'00' WHERE id = {row.id}")
        assert len(list(check(store, Checked()))) == 1
        assert list(check(store, Checked())) == []
        _is_as_before(store, row)

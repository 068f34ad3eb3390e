"""`repair`: of a name or pin and its second copy, which is right? Said only where one of the two makes no sense.

A gc frees nothing while names and pins are in doubt, so that there has to be a way back. A copy is *sound* if each of
its values is of its kind, its root is a CID of a codec that we read, and its key is the one under which it is kept.
Where both are sound nobody can tell, and whoever pinned it is asked.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress

from ..cid import CID, CODECS
from ..errors import FormatError
from . import echoes
from .catalog import SCHEMA, Catalog

STATUSES = ("queued", "pinning", "pinned", "failed")
REPAIRED = ("names", "pins")
_KINDS = {"names": (str, bytes, int), "pins": (str, bytes, str, str, int, str, str, str)}

_Odd = list[tuple[bytes, bytes, bytes | None]]  # key, row as text, its echo


def repair(catalog: Catalog, table: str) -> set[bytes]:
    """Set right what can be, in one transaction; the keys of rows and of echoes that were not."""
    key = echoes.keys(SCHEMA)[table]
    text = echoes.row_text(SCHEMA, table, "t")
    done: set[bytes] = set()
    with catalog.transaction() as database:
        odd: _Odd = database.execute(
            f"SELECT CAST(t.{key} AS BLOB), CAST({text} AS BLOB), CAST(e.row AS BLOB) {echoes.beside(SCHEMA, table)}"
        ).fetchall()
        lost: list[tuple[bytes, bytes]] = database.execute(
            f"SELECT CAST(e.key AS BLOB), CAST(e.row AS BLOB) {echoes.lost(SCHEMA, table)}"
        ).fetchall()
        for name, here, echo in odd:
            if echo is None or _sound(table, name, here) == _sound(table, name, echo):
                continue
            if _sound(table, name, here):
                echoes.renew(database, SCHEMA, table, name.decode())
            elif not _put(database, table, name, echo):
                continue
            done.add(name)
        for name, echo in lost:
            done |= _found_again(database, table, odd, name, echo)
    return done


def _found_again(database: sqlite3.Connection, table: str, odd: _Odd, name: bytes, echo: bytes) -> set[bytes]:
    """An echo without a row: the row was lost, or one of the two has another key now."""
    alone = [(other, here) for other, here, its in odd if its is None]
    if _sound(table, name, echo):
        rest = echo.partition(b"',")[2]
        moved = next((other for other, here in alone if here.partition(b"',")[2] == rest), name)
        return {name, moved} if _put(database, table, moved, echo) else set()
    for other, here in alone:
        if here == echo and _sound(table, other, here):
            database.execute(
                f"DELETE FROM {echoes.TABLE} WHERE of = ? AND CAST(key AS BLOB) = ?",  # noqa: S608 - our own names
                (table, name),
            )
            echoes.renew(database, SCHEMA, table, other.decode())
            return {name, other}
    return set()


def _put(database: sqlite3.Connection, table: str, instead: bytes, echo: bytes) -> bool:
    """Write the row of an echo in the place of one with the key `instead`. False if others are in its way."""
    values = echoes.parsed(echo)
    marks = ", ".join("?" * len(values))
    database.execute("SAVEPOINT put")
    try:
        database.execute(
            f"DELETE FROM {table} WHERE CAST({echoes.keys(SCHEMA)[table]} AS BLOB) = ?",  # noqa: S608 - our own names
            (instead,),
        )
        columns = ", ".join(echoes.columns(SCHEMA, table))
        database.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", values)  # noqa: S608 - our own names
    except sqlite3.IntegrityError:
        database.execute("ROLLBACK TO put")
        return False
    finally:
        database.execute("RELEASE put")
    return True


def _sound(table: str, name: bytes, text: bytes) -> bool:
    values = echoes.parsed(text)
    if tuple(type(value) for value in values) != _KINDS[table]:
        return False
    row = dict(zip(echoes.columns(SCHEMA, table), values, strict=True))
    with suppress(FormatError, ValueError):
        if table == "pins":
            for column in ("origins", "meta", "info"):
                json.loads(str(row[column]))
        root = CID.from_bytes(bytes(row["root"]))  # type: ignore[arg-type]
        known = root.codec in CODECS and row.get("status", STATUSES[0]) in STATUSES
        return known and str(values[0]).encode() == name
    return False

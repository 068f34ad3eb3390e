"""Echoes: every row of the catalogue a second time, as text, so that `check` notices a bit that flipped in either.

    echoes (of, key, row)    table, key of the row in it, its values as SQLite's `quote` writes them

Triggers write them, with nothing but what SQLite has built in: whoever writes a row, an older holdfast too, writes its
echo. An UPDATE brings the echo along only where the row was what its echo says; else a flipped bit would be copied
into the echo by the next stamp. Rows are few (files, not leaves), so that a plain copy costs less than it is worth to
save. Nothing reads an echo but `check`.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

TABLE = "echoes"
_CREATE = f"CREATE TABLE IF NOT EXISTS {TABLE} (of TEXT, key, row TEXT NOT NULL, PRIMARY KEY (of, key)) WITHOUT ROWID;"
_VALUE = re.compile(rb"X'([0-9A-Fa-f]*)'|'((?:[^']|'')*)'|([^,]+)")
_SET_WHOLE = ("names",)  # whoever updates one of these sets all of it: what it was before does not matter


@cache
def keys(schema: str) -> Mapping[str, str]:
    """The tables that have echoes, and the column that is the key of each."""
    return MappingProxyType({table: columns[0] for table, columns in _tables(schema).items()})


@cache
def objects(schema: str) -> frozenset[tuple[str, str, str, str]]:
    """What a catalogue of this schema has, echoes and triggers with it: type, name, table, SQL without comments."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(schema)
        install(connection, schema)
        return described(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall())
    finally:
        connection.close()


def described(rows: list[tuple[str, str, str, str | None]]) -> frozenset[tuple[str, str, str, str]]:
    """Rows of `sqlite_master`, but for what may differ between versions of holdfast: comments and line breaks."""
    return frozenset(
        (kind, name, table, " ".join(" ".join(line.partition("--")[0] for line in (sql or "").splitlines()).split()))
        for kind, name, table, sql in rows
    )


def install(connection: sqlite3.Connection, schema: str) -> None:
    """Begin to keep echoes, in one transaction for each table that has none: an older catalogue, or a new table."""
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    for table in _tables(schema):
        triggers = _triggers(schema, table)
        if TABLE not in there or not triggers.keys() <= there:
            fill = f"INSERT OR IGNORE INTO {TABLE} SELECT {_values(schema, table)} FROM {table};"  # noqa: S608 - ours
            script = ["BEGIN IMMEDIATE;", _CREATE, *triggers.values(), fill, "COMMIT;"]
            connection.executescript("\n".join(script))


def renew(connection: sqlite3.Connection, schema: str, table: str, key: object) -> None:
    """Write the echo of a row anew: everything in it was found to be right just now."""
    where = f"FROM {table} WHERE {keys(schema)[table]} = ?"
    connection.execute(
        f"INSERT OR REPLACE INTO {TABLE} SELECT {_values(schema, table)} {where}",
        (key,),
    )


def columns(schema: str, table: str) -> tuple[str, ...]:
    """The columns of a table in the order of its echoes."""
    return _tables(schema)[table]


def values(row: bytes) -> list[bytes]:
    """The values in an echo: blobs and texts as they are, numbers as text. Of a damaged echo, whatever can be read."""
    found = []
    for blob, text, other in _VALUE.findall(row):
        found.append(
            bytes.fromhex(blob.decode()) if blob and len(blob) % 2 == 0 else text.replace(b"''", b"'") or other
        )
    return found


def row_text(schema: str, table: str, alias: str) -> str:
    """The expression that writes a row as its echo has it."""
    return " || ',' || ".join(f"quote({alias}.{column})" for column in _tables(schema)[table])


@cache
def _tables(schema: str) -> dict[str, tuple[str, ...]]:
    """The columns of each table, its key first."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(schema)
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {}
        for name in names:
            if not name.startswith("sqlite_"):
                about = connection.execute(f"PRAGMA table_info({name})").fetchall()
                found[name] = tuple(
                    column[1] for column in sorted(about, key=lambda column: (not column[5], column[0]))
                )
        return found
    finally:
        connection.close()


def _values(schema: str, table: str, alias: str = "") -> str:
    alias = alias or table
    return f"'{table}', {alias}.{keys(schema)[table]}, {row_text(schema, table, alias)}"


def _triggers(schema: str, table: str) -> dict[str, str]:
    key = keys(schema)[table]
    now, before = _values(schema, table, "NEW"), row_text(schema, table, "OLD")
    mine = f"of = '{table}' AND key = +OLD.{key}"  # +: no affinity, else SQLite looks at every echo
    same = "" if table in _SET_WHOLE else f" AND row = {before}"
    put = f"INSERT OR REPLACE INTO {TABLE} VALUES ({now});"  # noqa: S608 - our own names, here and below
    keep = f"UPDATE {TABLE} SET row = {row_text(schema, table, 'NEW')} WHERE {mine}{same};"  # noqa: S608
    bodies = {"INSERT": put, "UPDATE": keep, "DELETE": f"DELETE FROM {TABLE} WHERE {mine};"}  # noqa: S608
    return {
        f"{table}_echo_{event.lower()}": f"CREATE TRIGGER IF NOT EXISTS {table}_echo_{event.lower()}"
        f" AFTER {event} ON {table} BEGIN {body} END;"
        for event, body in bodies.items()
    }

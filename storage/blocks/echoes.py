"""Echoes: every row of the catalogue a second time, as text, so that `check` notices a bit that flipped in either.

    echoes (of, key, row)    table, key of the row in it, its values as SQLite's `quote` writes them

Triggers write them, with nothing but what SQLite has built in: whoever writes a row, an older holdfast too, writes its
echo. An UPDATE brings the echo along only where the row was what its echo says; else a flipped bit would be copied
into the echo by the next stamp. Rows are few (files, not leaves), so that a plain copy costs less than it is worth to
save. Nothing reads an echo but `check`, and a `gc` before it believes names and pins.

`quote` stops at a NUL: of a text that holds one, what comes behind it has no second copy. Nothing of ours holds one.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType

TABLE = "echoes"
_CREATE = f"CREATE TABLE IF NOT EXISTS {TABLE} (of TEXT, key, row TEXT NOT NULL, PRIMARY KEY (of, key)) WITHOUT ROWID;"
LIST = "SELECT type, name, tbl_name, sql FROM sqlite_master"
_VALUE = re.compile(rb"X'([0-9A-Fa-f]*)'|'((?:[^']|'')*)'|([^,]+)")
_SET_WHOLE = ("names",)  # whoever updates one of these sets all of it: what it was before does not matter


@cache
def keys(schema: str) -> Mapping[str, str]:
    """The tables that have echoes, and the column that is the key of each."""
    return MappingProxyType({table: columns[0] for table, columns in _tables(schema).items()})


Object = tuple[str, str, str, str]  # of a schema: type, name, table, SQL without comments


@cache
def objects(schema: str) -> frozenset[Object]:
    """What a catalogue of this schema has, echoes and triggers with it."""
    return _made_by(schema, [_triggers(schema, table) for table in _tables(schema)])


@cache
def former(schema: str) -> frozenset[Object]:
    """Triggers as earlier versions wrote them, which do the same but slowly: `install` replaces them."""
    return _made_by(schema, [_triggers(schema, table, "key IS OLD.") for table in _tables(schema)]) - objects(schema)


def described(rows: Iterable[tuple[object, ...]]) -> frozenset[Object]:
    """Rows of `sqlite_master`, but for what may differ between versions of holdfast: comments and line breaks."""
    return frozenset((str(kind), str(name), str(table), _bare(str(sql or ""))) for kind, name, table, sql in rows)


def _bare(sql: str) -> str:
    return " ".join(" ".join(line.partition("--")[0] for line in sql.splitlines()).split())


def _made_by(schema: str, triggers: list[dict[str, str]]) -> frozenset[Object]:
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(schema + _CREATE)
        for of_table in triggers:
            for sql in of_table.values():
                connection.execute(sql)
        return described(connection.execute(LIST))
    finally:
        connection.close()


def install(connection: sqlite3.Connection, schema: str) -> None:
    """Make what is missing of a schema, and begin to keep echoes: of a new catalogue, an older one, or a new table.

    All in one transaction: half of it, left by a kill, would look like damage. A trigger whose SQL is not ours is made
    anew: an earlier version wrote it.
    """
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {schema}")
        there = described(connection.execute(LIST))
        names = {name for _, name, _, _ in there}
        connection.execute(_CREATE)
        for table in _tables(schema):
            triggers = _triggers(schema, table)
            if {one for one in objects(schema) if one[1] in triggers} <= there and TABLE in names:
                continue
            for name, sql in triggers.items():
                connection.execute(f"DROP TRIGGER IF EXISTS {name}")
                connection.execute(sql)
            if TABLE not in names or not triggers.keys() <= names:
                connection.execute(
                    f"INSERT OR IGNORE INTO {TABLE} SELECT {_values(schema, table)} FROM {table}"  # noqa: S608 - ours
                )
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


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


def parsed(row: bytes) -> tuple[bytes | str | int, ...]:
    """The values in an echo; nothing if it is not what `quote` would write of blobs, texts and integers."""
    found: list[bytes | str | int] = []
    try:
        for whole in _VALUE.finditer(row):
            blob, text, other = whole.groups()
            found.append(
                bytes.fromhex(blob.decode()) if blob is not None
                else text.replace(b"''", b"'").decode() if text is not None
                else int(other)
            )  # fmt: skip
    except ValueError:
        return ()
    return tuple(found) if b",".join(_quoted(value) for value in found) == row else ()


def _quoted(value: bytes | str | int) -> bytes:
    if isinstance(value, bytes):
        return b"X'%s'" % value.hex().upper().encode()
    return b"'%s'" % value.replace("'", "''").encode() if isinstance(value, str) else b"%d" % value


def beside(schema: str, table: str) -> str:
    """The clauses for rows `t` that differ from their echoes `e`."""
    return (
        f"FROM {table} t LEFT JOIN {TABLE} e ON e.of = '{table}' AND e.key = +t.{keys(schema)[table]}"
        f" WHERE e.row IS NOT {row_text(schema, table, 't')}"
    )


def lost(schema: str, table: str) -> str:
    """The clauses for echoes `e` whose rows are gone. `key` alone would be the table's own, where it has such."""
    gone = f"NOT EXISTS (SELECT 1 FROM {table} t WHERE t.{keys(schema)[table]} IS e.key)"  # noqa: S608 - our own names
    return f"FROM {TABLE} e WHERE e.of = '{table}' AND {gone}"


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


def _triggers(schema: str, table: str, same_key: str = "key = +OLD.") -> dict[str, str]:
    key = keys(schema)[table]
    now, before = _values(schema, table, "NEW"), row_text(schema, table, "OLD")
    mine = f"of = '{table}' AND {same_key}{key}"  # +: no affinity, else SQLite looks at every echo
    same = "" if table in _SET_WHOLE else f" AND row = {before}"
    put = f"INSERT OR REPLACE INTO {TABLE} VALUES ({now});"  # noqa: S608 - our own names, here and below
    keep = f"UPDATE {TABLE} SET row = {row_text(schema, table, 'NEW')} WHERE {mine}{same};"  # noqa: S608
    bodies = {"INSERT": put, "UPDATE": keep, "DELETE": f"DELETE FROM {TABLE} WHERE {mine};"}  # noqa: S608
    return {
        f"{table}_echo_{event.lower()}": f"CREATE TRIGGER IF NOT EXISTS {table}_echo_{event.lower()}"
        f" AFTER {event} ON {table} BEGIN {body} END;"
        for event, body in bodies.items()
    }

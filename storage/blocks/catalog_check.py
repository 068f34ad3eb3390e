"""Is the catalogue what was written? Its pages, its schema, and each row beside its echo (see `echoes`).

A flipped bit is in a page's structure (SQLite's own check), in the schema, in a row or in its echo; or it changes
nothing. `sqlite_sequence` has no echo: it matters only that it is not below an id that somebody was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..cid import CID
from ..errors import FormatError, StoreError
from . import echoes
from .catalog import SCHEMA, Catalog

_MAX_ID = 1 << 32  # the leaf index has 32 bits for it
_LISTED = 100  # of SQLite's findings
_LABELS = {"files": ("path", "cid"), "names": ("name", "root"), "pins": ("requestid", "root")}
_SPARE = {"packed": "the next publish packs it again", "journal": "what it speaks of is begun anew"}
_CURES = {
    "files": "publish, pin or import the file again",
    "names": "publish under this name again",
    "pins": "`holdfast pin rm` it, and pin it again",
}

Finding = tuple[str, str]  # the CID of the row, or nothing; what is wrong


def structure(catalog: Catalog) -> Iterator[Finding]:
    """Pages and schema. A catalogue with a finding here is not to be written to."""
    yield from _guarded(catalog, _pages)
    yield from _guarded(catalog, _schema)


def rows(catalog: Catalog, *, mend: bool) -> Iterator[Finding]:
    """Rows that are not what their echoes say. With `mend`, those that nobody needs are taken out."""
    for table in echoes.keys(SCHEMA):
        yield from _guarded(catalog, lambda catalog, table=table: _table(catalog, table, mend=mend))  # type: ignore[misc]
    yield from _guarded(catalog, _strangers)


def odd_files(catalog: Catalog) -> set[int]:
    """The ids of files whose rows are not what their echoes say."""
    query = f"SELECT t.id {_beside('files')}"
    return {row for (row,) in catalog.rows(query) if isinstance(row, int)}


def sequence(catalog: Catalog, newest: int) -> Iterator[Finding]:
    """`newest`: the highest id of a file that is named anywhere. One that is given again would name two files."""
    found = catalog.rows("SELECT seq FROM sqlite_sequence WHERE name = 'files'")
    known = [seq for (seq,) in found]
    if newest and not (len(known) == 1 and isinstance(known[0], int) and newest <= known[0] < _MAX_ID):
        yield "", f"the next id of a file comes after {known[0] if known else 'none'}, and {newest} is in use"


def _guarded(catalog: Catalog, part: Callable[[Catalog], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from part(catalog)
    except StoreError as error:
        yield "", f"cannot be read: {error.message}"


def _pages(catalog: Catalog) -> Iterator[Finding]:
    for (text,) in catalog.rows(f"PRAGMA integrity_check({_LISTED})"):
        if text != "ok":
            yield "", f"{text}: restore it from a backup, or publish and pin again into a new repository"


def _schema(catalog: Catalog) -> Iterator[Finding]:
    found = catalog.rows("SELECT type, name, tbl_name, sql FROM sqlite_master")
    there = echoes.described([(str(kind), str(name), str(table), str(sql or "")) for kind, name, table, sql in found])
    for kind, name in sorted({(kind, name) for kind, name, *_ in there ^ echoes.objects(SCHEMA)}):
        yield "", f"the {kind} {name} of its schema is not what it should be: restore it from a backup"


def _beside(table: str) -> str:
    text = echoes.row_text(SCHEMA, table, "t")
    return (
        f"FROM {table} t LEFT JOIN {echoes.TABLE} e ON e.of = '{table}' AND e.key = +t.{echoes.keys(SCHEMA)[table]}"
        f" WHERE e.row IS NOT {text}"
    )


def _table(catalog: Catalog, table: str, *, mend: bool) -> Iterator[Finding]:
    key = echoes.keys(SCHEMA)[table]
    label, cid = _LABELS.get(table, (key, "NULL"))
    columns = ", ".join(f"CAST({column} AS BLOB)" for column in (f"t.{label}", f"t.{cid}" if cid != "NULL" else cid))
    odd = catalog.rows(f"SELECT {columns} {_beside(table)}")
    lost = catalog.rows(
        f"SELECT CAST(key AS BLOB), CAST(row AS BLOB) FROM {echoes.TABLE}"  # noqa: S608 - our own names
        f" WHERE of = '{table}' AND NOT EXISTS (SELECT 1 FROM {table} t WHERE t.{key} IS key)"
    )
    cure = _SPARE.get(table) or _CURES.get(table, "restore it from a backup")
    for name, root in odd:
        yield _cid(root), f"{_word(table)} {_name(table, name)} differs from its second copy: {cure}"
    for name, text in lost:
        name, root = _of_echo(table, text, name)
        yield _cid(root), f"{_word(table)} {_name(table, name)} is missing, its second copy is here: {cure}"
    if mend and table in _SPARE and (odd or lost):
        _clear(catalog, table)


def _clear(catalog: Catalog, table: str) -> None:
    key = echoes.keys(SCHEMA)[table]
    with catalog.transaction() as connection:
        odd = connection.execute(f"SELECT t.{key} {_beside(table)}").fetchall()
        connection.executemany(f"DELETE FROM {table} WHERE {key} IS ?", odd)  # noqa: S608
        connection.execute(
            f"DELETE FROM {echoes.TABLE} WHERE of = ?"  # noqa: S608 - our own names
            f" AND NOT EXISTS (SELECT 1 FROM {table} t WHERE t.{key} IS {echoes.TABLE}.key)",
            (table,),
        )


def _strangers(catalog: Catalog) -> Iterator[Finding]:
    marks = ", ".join(f"'{table}'" for table in echoes.keys(SCHEMA))
    for (name,) in catalog.rows(
        f"SELECT CAST(of AS BLOB) FROM {echoes.TABLE} WHERE of IS NULL OR of NOT IN ({marks})"  # noqa: S608
    ):
        yield "", f"a second copy says that it is of {_name('', name)}, which is no table: restore it from a backup"


def _of_echo(table: str, text: object, key: object) -> tuple[object, object]:
    """Label and CID of a row that is not there, from its echo."""
    if table not in _LABELS or not isinstance(text, bytes):
        return key, None
    values = dict(zip(echoes.columns(SCHEMA, table), echoes.values(text), strict=False))
    name, root = _LABELS[table]
    return values.get(name, key), values.get(root)


def _word(table: str) -> str:
    return {"files": "the row of file", "names": "the name", "pins": "the pin"}.get(table, f"a row of {table}:")


def _name(table: str, value: object) -> str:
    if not isinstance(value, bytes):
        return "without a key"
    return value.hex() if table in _SPARE else value.decode(errors="backslashreplace")


def _cid(value: object) -> str:
    try:
        return str(CID.from_bytes(value)) if isinstance(value, bytes) else ""
    except FormatError:
        return ""

"""Is the catalogue what was written? Its pages, its schema, and each row beside its echo (see `echoes`).

A flipped bit is in a page's structure (SQLite's own check), in the schema, in a row or in its echo; or it changes
nothing. `sqlite_sequence` has no echo: it matters only that it is not below an id that somebody was given.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..cid import CID
from ..errors import FormatError
from . import echoes
from .catalog import SCHEMA, Catalog
from .catalog_mend import REPAIRED, repair
from .catalog_structure import Finding, guarded, structure

__all__ = ["lost_files", "odd_files", "roots", "rows", "sequence", "structure"]

_MAX_ID = 1 << 32  # the leaf index has 32 bits for it
_LABELS = {"files": ("path", "cid"), "names": ("name", "root"), "pins": ("requestid", "root")}
_SPARE = {"packed": "the next publish packs it again", "journal": "what it speaks of is begun anew"}
_CURES = {
    "files": "publish, pin or import the file again",
    "names": "publish under this name again",
    "pins": "`holdfast pin rm` it, and pin it again",
}
_MENDED = "only one of them makes sense, and both say that now"


def rows(catalog: Catalog, *, mend: bool) -> Iterator[Finding]:
    """Rows that are not what their echoes say. `mend`: take out what nobody needs, set right what can be."""
    for table in echoes.keys(SCHEMA):
        yield from guarded(catalog, lambda catalog, table=table: _table(catalog, table, mend=mend))  # type: ignore[misc]
    yield from guarded(catalog, _strangers)


def roots(catalog: Catalog) -> Iterator[Finding]:
    """What is wrong with what says what is to be kept: for who is about to free the rest."""
    yield from structure(catalog)
    for table in ("names", "pins"):
        yield from guarded(catalog, lambda catalog, table=table: _table(catalog, table, mend=False))  # type: ignore[misc]


def lost_files(catalog: Catalog) -> bool:
    """Whether a file had a row once that is not here: one with another id, or none."""
    return bool(catalog.rows(f"SELECT 1 {echoes.lost(SCHEMA, 'files')} LIMIT 1"))


def odd_files(catalog: Catalog) -> set[int]:
    """The ids of files whose rows are not what their echoes say."""
    query = f"SELECT t.id {echoes.beside(SCHEMA, 'files')}"
    return {row for (row,) in catalog.rows(query) if isinstance(row, int)}


def sequence(catalog: Catalog, newest: int) -> Iterator[Finding]:
    """`newest`: the highest id of a file that is named anywhere. One that is given again would name two files."""
    found = catalog.rows("SELECT seq FROM sqlite_sequence WHERE name = 'files'")
    known = [seq for (seq,) in found]
    if newest and not (len(known) == 1 and isinstance(known[0], int) and newest <= known[0] < _MAX_ID):
        reason = f"the next id of a file comes after {known[0] if known else 'none'}, and {newest} is in use"
        yield "", f"{reason}: restore it from a backup, or publish and pin again into a new repository"


def _table(catalog: Catalog, table: str, *, mend: bool) -> Iterator[Finding]:
    key = echoes.keys(SCHEMA)[table]
    label, cid = _LABELS.get(table, (key, "NULL"))
    columns = ", ".join(f"CAST({column} AS BLOB)" for column in (f"t.{label}", f"t.{cid}" if cid != "NULL" else cid))
    odd = catalog.rows(f"SELECT {columns} {echoes.beside(SCHEMA, table)}")
    lost = catalog.rows(f"SELECT CAST(e.key AS BLOB), CAST(e.row AS BLOB) {echoes.lost(SCHEMA, table)}")
    mended: set[object] = set(repair(catalog, table) if mend and table in REPAIRED and (odd or lost) else ())
    cure = _SPARE.get(table) or _CURES.get(table, "restore it from a backup")
    for name, root in odd:
        what = _MENDED if name in mended else cure
        yield _cid(root), f"{_word(table)} {_name(table, name)} differs from its second copy: {what}"
    for at, text in lost:
        what = _MENDED if at in mended else cure
        its, root = _of_echo(table, text, at)
        yield _cid(root), f"{_word(table)} {_name(table, its)} is missing, its second copy is here: {what}"
    if mend and table in _SPARE and (odd or lost):
        _clear(catalog, table)


def _clear(catalog: Catalog, table: str) -> None:
    key = echoes.keys(SCHEMA)[table]
    with catalog.transaction() as connection:
        odd = connection.execute(f"SELECT t.{key} {echoes.beside(SCHEMA, table)}").fetchall()
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

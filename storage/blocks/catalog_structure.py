"""Is a catalogue fit to be written to? Its pages, by SQLite's own check, and its schema. Only reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from ..errors import StoreError
from . import echoes
from .catalog import SCHEMA, Catalog

_LISTED = 100  # of SQLite's findings

Finding = tuple[str, str]  # the CID of the row, or nothing; what is wrong


def structure(catalog: Catalog) -> Iterator[Finding]:
    """Pages and schema. A catalogue with a finding here is not to be written to."""
    yield from guarded(catalog, _pages)
    yield from guarded(catalog, _schema)


def guarded(catalog: Catalog, part: Callable[[Catalog], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a part, and that it could not go on if so."""
    try:
        yield from part(catalog)
    except StoreError as error:
        yield "", f"cannot be read: {error.message}"


def _pages(catalog: Catalog) -> Iterator[Finding]:
    for (text,) in catalog.look(f"PRAGMA integrity_check({_LISTED})"):
        if text != "ok":
            yield "", f"{text}: restore it from a backup, or publish and pin again into a new repository"


def _schema(catalog: Catalog) -> Iterator[Finding]:
    """What of our own is missing or altered. What we do not know is of a newer holdfast."""
    there = echoes.described(catalog.look(echoes.LIST))
    for one in sorted(echoes.objects(SCHEMA) - there):
        if not _comes_later(catalog, one, there):
            yield "", f"the {one[0]} {one[1]} of its schema is not what it should be: restore it from a backup"


def _comes_later(catalog: Catalog, lacking: echoes.Object, there: Collection[echoes.Object]) -> bool:
    """Whether an older holdfast wrote this catalogue, and `Catalog` writes what is lacking with its first use.

    A flipped bit hits one object. A table that an older one had not is lacking with all that belongs to it: indexes,
    triggers, echoes; the same is true of the three triggers of a table.
    """
    kind, name, table, _ = lacking
    if kind == "trigger" and any(one[:2] == (kind, name) for one in there):
        return any(one[1] == name and one in echoes.former(SCHEMA) for one in there)
    others = {one[0] for one in there if one[2] == table}
    if kind == "trigger":
        return "trigger" not in others and not _echoed(catalog, table, there)
    if table == echoes.TABLE:
        return not others and not any(one[0] == "trigger" for one in there)
    return (
        not others and table not in ("files", "names", "pins", "sqlite_sequence") and not _echoed(catalog, table, there)
    )


def _echoed(catalog: Catalog, table: str, there: Collection[echoes.Object]) -> bool:
    if not any(one[1] == echoes.TABLE for one in there):
        return False
    return bool(catalog.look(f"SELECT 1 FROM {echoes.TABLE} WHERE of = ? LIMIT 1", (table,)))  # noqa: S608 - ours

"""Change a catalogue as a flipped bit does: no trigger sees it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from holdfast.storage.blocks.disk import DiskStore


def rot(store: DiskStore, *statements: str) -> None:
    """Run statements while the triggers are away."""
    with closing(sqlite3.connect(store.catalog.path)) as database:
        rows = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in rows:
            database.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            database.execute(statement)
        for _, sql in rows:
            database.execute(sql)
        database.commit()

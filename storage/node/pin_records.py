"""`PinRecords`: the pin requests of a peer, in the catalogue of its repository. A write is durable when it returns."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..blocks.catalog import Catalog
from ..cid import CID
from ..errors import FormatError, StoreError
from ..pins.pin import Status
from .pin_query import PinQuery

_COLUMNS = "requestid, root, name, status, created_us, origins, meta, info"


@dataclass(frozen=True, slots=True)
class PinRecord:
    """One row."""

    requestid: str
    cid: CID
    name: str
    status: Status
    created_us: int
    origins: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict, hash=False)
    info: Mapping[str, str] = field(default_factory=dict, hash=False)


class PinRecords:
    """Safe from any thread."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._unwritten: dict[str, Mapping[str, str]] = {}  # `info` of failed ones that the disk did not take
        self._lock = threading.Lock()

    def add(
        self, cid: CID, name: str, origins: Sequence[str], meta: Mapping[str, str], *, replaces: str | None = None
    ) -> PinRecord | None:
        """A new queued request, `created` at a microsecond of its own. None if the one it replaces is not there."""
        requestid = secrets.token_urlsafe(16)
        with self._catalog.transaction() as connection:
            if replaces is not None:
                gone = connection.execute("DELETE FROM pins WHERE requestid = ?", (replaces,))
                if not gone.rowcount:
                    return None
            (last,) = connection.execute("SELECT COALESCE(MAX(created_us), 0) FROM pins").fetchone()
            created_us = max(time.time_ns() // 1000, int(last) + 1)
            record = PinRecord(requestid, cid, name, Status.QUEUED, created_us, tuple(origins), dict(meta))
            connection.execute(
                f"INSERT INTO pins ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
                (requestid, bytes(cid), name, "queued", created_us, json.dumps(list(origins)), json.dumps(meta), "{}"),
            )
        return record

    def get(self, requestid: str) -> PinRecord | None:
        """One request, or None."""
        rows = self._select("WHERE requestid = ?", (requestid,))
        return rows[0] if rows else None

    def update(self, requestid: str, status: Status, info: Mapping[str, str]) -> None:
        """Note how far it got; nothing if it was removed meanwhile."""
        with self._catalog.transaction() as connection:
            connection.execute(
                "UPDATE pins SET status = ?, info = ? WHERE requestid = ?",
                (status.value, json.dumps(dict(info)), requestid),
            )

    def fail(self, requestid: str, info: Mapping[str, str]) -> bool:
        """Note that it failed, in memory at least: a full disk takes no row. Whether it is durable."""
        with self._lock:
            self._unwritten[requestid] = info
        return self.write_failed()

    def write_failed(self) -> bool:
        """Try again to write what failed. Whether nothing is left to write. Never raises `StoreError`."""
        with self._lock:
            unwritten = list(self._unwritten.items())
        try:
            for requestid, info in unwritten:
                self.update(requestid, Status.FAILED, info)
                self._forget(requestid)
        except StoreError:
            return False
        return True

    def _forget(self, requestid: str) -> None:
        with self._lock:
            self._unwritten.pop(requestid, None)

    def remove(self, requestid: str) -> bool:
        """Remove it. Whether it was there."""
        with self._catalog.transaction() as connection:
            found = connection.execute("DELETE FROM pins WHERE requestid = ?", (requestid,)).rowcount > 0
        self._forget(requestid)
        return found

    def unfinished(self) -> list[PinRecord]:
        """What is queued or under way, the oldest first."""
        return self._select("WHERE status IN ('queued', 'pinning') ORDER BY created_us", ())

    def find(self, query: PinQuery) -> tuple[int, list[PinRecord]]:
        """How many requests match, and the newest of them up to the query's limit."""
        where, values = ["created_us < ?", "created_us > ?"], [query.before_us, query.after_us]
        parameters: list[object] = [*values]
        with self._lock:
            statuses = () if self._unwritten else query.statuses  # a row may be older than what we know
        for column, wanted in (
            ("root", [bytes(form) for cid in query.cids for form in _forms(cid)]),
            ("status", [status.value for status in statuses]),
        ):
            if wanted:
                where.append(f"{column} IN ({','.join('?' * len(wanted))})")
                parameters += wanted
        rows = self._select(f"WHERE {' AND '.join(where)} ORDER BY created_us DESC", tuple(parameters))
        rows = [row for row in rows if not query.statuses or row.status in query.statuses]
        rows = [row for row in rows if query.matches(row.name, row.meta)]
        return len(rows), rows[: query.limit]

    def _select(self, clause: str, values: tuple[object, ...]) -> list[PinRecord]:
        rows = self._catalog.rows(f"SELECT {_COLUMNS} FROM pins {clause}", values)  # noqa: S608 - our own clauses
        with self._lock:
            unwritten = dict(self._unwritten)
        try:
            found = [_record(row) for row in rows]
        except (ValueError, TypeError, FormatError) as error:  # not what was written: no status, no JSON, no CID
            raise self._catalog.damaged("pins", error) from error
        return [
            replace(record, status=Status.FAILED, info=unwritten[record.requestid])
            if record.requestid in unwritten
            else record
            for record in found
        ]


def _forms(cid: CID) -> set[CID]:
    """A CID and, for dag-pb by sha2-256, its other version: they name one block."""
    forms = {cid, cid.v1()}
    if cid.codec == 0x70 and cid.multihash[:2] == b"\x12\x20":
        forms.add(CID(0, cid.codec, cid.multihash))
    return forms


def _record(row: tuple[object, ...]) -> PinRecord:
    requestid, root, name, status, created_us, origins, meta, info = row
    if not isinstance(root, bytes):
        raise TypeError(f"{root!r} is no CID")
    return PinRecord(
        str(requestid), CID.from_bytes(root), str(name), Status(str(status)), int(str(created_us)),
        tuple(json.loads(str(origins))), json.loads(str(meta)), json.loads(str(info)),
    )  # fmt: skip

"""`LocalPins`: the pins and published names of a repository, for commands beside a running peer or without one."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..blocks.disk import DiskStore
from ..blocks.lease import lease
from ..cid import CID
from ..errors import MissingError
from ..pins.pin import Pin, Status
from .pin_query import PinQuery
from .pin_records import PinRecord, PinRecords
from .reliance import check_complete, rely_on

_EVERYTHING = PinQuery(statuses=tuple(Status), limit=1 << 31)
PUBLISHED = "local-"  # request ids of what this repository publishes itself: `local-NAME`


class LocalPins:
    """A `PinTarget`. `add` fetches nothing: what is pinned must be here already."""

    takes_cars = False

    def __init__(self, store: DiskStore) -> None:
        self._store = store
        self._records = PinRecords(store.catalog)

    @property
    def name(self) -> str:
        """See `PinTarget.name`."""
        return str(self._store.folder)

    def add(self, cid: CID, name: str, origins: Sequence[str]) -> Pin:
        """See `PinTarget.add`. Raises `BlockMissingError` when a block of it is not in the repository, or rotten.

        What is only published gets a pin of its own.
        """
        del origins
        for pin in self.ls(cid, (Status.PINNED,)):
            if not pin.requestid.startswith(PUBLISHED):  # such a one moves on with the next version of its name
                return pin
        with lease(self._store.folder, "pin"):
            record = self._records.add(cid, name, (), {})
            assert record is not None
            try:
                # A gc that started before the record was there knows nothing of it, but leaves what is stamped. Only
                # then is it looked at: what that gc took until here is missed, what is here from here on stays.
                rely_on(self._store, cid)
                check_complete(self._store, cid)
            except BaseException:
                self._records.remove(record.requestid)
                raise
            self._records.update(record.requestid, Status.PINNED, {})
        return self.status(record.requestid)

    def status(self, requestid: str) -> Pin:
        """See `PinTarget.status`."""
        record = self._records.get(requestid)
        if record is None:
            raise MissingError(
                f"{self._store.folder} has no pin {requestid!r}", hint="holdfast pin ls shows those it has"
            )
        return _pin(record)

    def ls(self, cid: CID | None = None, statuses: Collection[Status] = tuple(Status)) -> list[Pin]:
        """See `PinTarget.ls`."""
        _, records = self._records.find(_EVERYTHING)
        same = None if cid is None else cid.v1()
        return [_pin(r) for r in records if r.status in statuses and (same is None or r.cid.v1() == same)]

    def rm(self, requestid: str) -> None:
        """See `PinTarget.rm`. A published name is forgotten with its pin; the data goes with the next gc."""
        if requestid.startswith(PUBLISHED):
            with self._store.catalog.transaction() as connection:
                connection.execute("DELETE FROM names WHERE name = ?", (requestid.removeprefix(PUBLISHED),))
                connection.execute("DELETE FROM pins WHERE requestid = ?", (requestid,))
        else:
            self._records.remove(requestid)

    def close(self) -> None:
        """See `PinTarget.close`."""


def _pin(record: PinRecord) -> Pin:
    return Pin(record.requestid, record.cid, record.name, record.status, record.created_us, record.origins, record.info)


__all__ = ["PUBLISHED", "LocalPins"]

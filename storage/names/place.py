"""The contract of whoever keeps records of names: a peer, a delegated router, a Kubo."""

from __future__ import annotations

from typing import Protocol

from .name import Name


class NamePlace(Protocol):
    """Keeps records by name. It is believed nothing: what it gives is checked by `read_record`.

    A call ends within the place's own deadline; nothing is retried in here. Calls may come from any thread. Errors by
    blame: `ConfigError` when a token is refused or missing, else `PeerError`.
    """

    @property
    def name(self) -> str:
        """As the roster calls it."""
        ...

    def get(self, name: Name) -> bytes | None:
        """The record that it keeps, unverified and at most `MAX_RECORD_BYTES` long; None when it has none."""
        ...

    def put(self, name: Name, record: bytes) -> None:
        """Ask it to keep this record in place of an older one. Idempotent."""
        ...

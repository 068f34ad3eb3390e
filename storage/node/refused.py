"""`RefusedError`: a request that cannot be answered as it is."""

from __future__ import annotations


class RefusedError(Exception):
    """An HTTP status and a sentence for the client."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason

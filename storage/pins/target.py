"""The contract of whoever can be asked to keep a DAG."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from ..cid import CID
from .pin import Pin, Status

UNFINISHED = frozenset({Status.QUEUED, Status.PINNING})


class PinTarget(Protocol):
    """A provider that keeps what it is asked to keep.

    One call is one decision at the provider; nothing is retried in here: the caller does, and may, because every
    call is idempotent. A call ends within the target's own deadline. Calls may come from any thread.

    Errors by blame: `ConfigError` when the token is refused or missing (the message names the provider, never the
    token), `QuotaError` when the provider has no room for us, `PeerError` when it is unreachable (`retryable`),
    answers nonsense or refuses. What a provider reports is its claim; who must know reads the blocks back.
    """

    @property
    def name(self) -> str:
        """As the roster calls it."""
        ...

    @property
    def takes_cars(self) -> bool:
        """Whether it is a `CarTarget`: it can be sent the blocks, where it would not find who has them."""
        ...

    def add(self, cid: CID, name: str, origins: Sequence[str]) -> Pin:
        """Ask to keep the whole DAG below `cid`; the provider may fetch it from `origins`.

        Returns once the provider has taken the request down, long before it has the blocks. A pin of this CID that
        is pinned already is returned as it is; one under way elsewhere is replaced, so that it learns the origins.
        """
        ...

    def status(self, requestid: str) -> Pin:
        """The request now. Raises `MissingError` when the provider does not know it."""
        ...

    def ls(self, cid: CID | None = None, statuses: Collection[Status] = tuple(Status)) -> list[Pin]:
        """Every request (of one CID) in one of these states, the newest first."""
        ...

    def rm(self, requestid: str) -> None:
        """Withdraw the request. One that is not there is no error."""
        ...

    def close(self) -> None:
        """Release what is held. The target can be used again."""
        ...


class CarTarget(PinTarget, Protocol):
    """A pin target that the blocks can be sent to, of one DAG or of many small ones with few calls."""

    def holds(self, cid: CID) -> bool:
        """Whether it has this block itself, now; it may be gone later. Raises as `PinTarget` says."""
        ...

    def push(
        self, cid: CID, name: str, cars: Sequence[Iterable[bytes]], check: Callable[[], None] = lambda: None
    ) -> Pin:
        """Send the whole DAG as the bytes of one CAR or several, at once, and have it pinned: done when it returns.

        Idempotent. `check` is called again and again, and may end it by raising. Raises what `cars` raise, and as
        `PinTarget` says; `IncompleteError` when what was sent, with what was there, is not the whole DAG.
        """
        ...

    def push_many(
        self,
        wanted: Sequence[tuple[CID, str]],
        cars: Sequence[Iterable[bytes]],
        check: Callable[[], None] = lambda: None,
    ) -> list[Pin]:
        """Send the DAGs of all roots as the bytes of one CAR or several, have each pinned under its name, and announce
        them at the end.

        One pin for each, in order, `PINNED` or `FAILED`: one that fails does not keep others from being pinned. Raises
        where nothing could be asked, as `push` does.
        """
        ...

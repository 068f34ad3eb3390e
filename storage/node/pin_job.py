"""`PinJob`: fetch one DAG into the repository, then look whether every block is there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ..blocks.disk import DiskStore
from ..blocks.lease import lease
from ..cid import CID, RAW
from ..dag import walk
from ..errors import HashMismatchError, QuotaError, StoreError, UnavailableError
from ..fetch.download import Progress, download
from ..fetch.engine import FetchEngine
from ..fetch.evidence import Evidence
from ..fetch.policy import FetchPolicy
from ..fetch.tree import RemoteTree
from ..sources.source import Source
from .pin_nodes import PinNodes
from .repo_target import RepoTarget
from .room import Room

_ROUNDS = 3  # a gc may take what was here before this pin came to rely on it


class CancelledError(Exception):
    """The pin was removed, or the peer stops. Nobody's fault."""


class PinJob:
    """One run. `run` in one thread; `cancel` and `info` from any."""

    def __init__(self, root: CID, store: DiskStore, room: Room, policy: FetchPolicy) -> None:
        self.root, self._store, self._room, self._policy = root, store, room, policy
        self._engine: FetchEngine | None = None
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._progress = Progress()

    def info(self) -> dict[str, str]:
        """How far it got, in the words of the API (texts)."""
        return {"bytes": str(self._progress.bytes), "total_bytes": str(self._progress.total_bytes)}

    def cancel(self) -> None:
        """End it soon: `run` raises `CancelledError`. Waits for what is in flight to be dropped."""
        with self._lock:
            self._cancelled.set()
            engine = self._engine
        if engine is not None:
            engine.close()

    def run(self, sources: Callable[[], Sequence[Source]]) -> dict[str, str]:
        """Fetch and check; returns the final `info`. Raises a `HoldfastError`, or `CancelledError`."""
        with lease(self._store.folder, "pin"):
            return self._run(sources)

    def _run(self, sources: Callable[[], Sequence[Source]]) -> dict[str, str]:
        target = RepoTarget(self._room, self._check)
        evidence = Evidence(self._store.folder / "evidence")
        engine = FetchEngine(sources(), policy=self._policy, evidence=evidence)
        try:
            with self._lock:
                self._check()
                self._engine = engine.start()
            for attempt in range(_ROUNDS):
                tree = RemoteTree(engine, self.root, PinNodes(self._store, self._room.budget))
                download(tree, target, on_progress=self._note)
                target.close()
                try:
                    walk.run(walk.dag_order(self.root), self._held)
                    self._store.nodes.sync()
                    break
                except UnavailableError:
                    if attempt == _ROUNDS - 1:
                        raise
        except Exception as error:
            if self._cancelled.is_set():  # whatever the engine said as it was closed under us
                raise CancelledError from error
            if isinstance(error, StoreError) and not isinstance(error, QuotaError):
                engine.close()  # nobody writes any more
                target.drop()  # our disk is full, or failing: what is half done only fills it
            raise
        finally:
            engine.close()
            target.close()
        return self.info()

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise CancelledError

    def _note(self, progress: Progress) -> None:
        self._check()
        self._progress = progress

    def _held(self, cid: CID) -> bytes:
        """The bytes of a node that we hold; of a leaf only that we do."""
        self._check()
        if cid.codec == RAW and not self._store.nodes.has(cid):  # in a file, whose stamp was looked at
            if not self._store.has(cid):
                raise _still_missing(cid)
            return b""
        try:
            data = self._store.get(cid).data
            return b"" if cid.codec == RAW else data
        except (StoreError, HashMismatchError) as error:
            raise _still_missing(cid) from error


def _still_missing(cid: CID) -> UnavailableError:
    return UnavailableError(
        f"block {cid} is still missing after the fetch",
        hint="no origin had it: pin it again, with an --origin that does",
    )

"""`KuboPins`: a Kubo that is asked to keep a DAG: it is given a CAR, or fetches what it lacks by itself.

The control plane is ipfshttpclient's `Client` (never `connect`, which refuses every Kubo of today); what streams or
must not lose an error goes through `KuboRpc` (facts: ipfs.md §3), and so does all where the address is https or has a
path.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import takewhile
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ...configs.roster import Provider
from ..cid import CID
from ..control import Reply, refusal
from ..errors import ConfigError, FormatError, HoldfastError, MissingError, PeerError, UnreachableError, WrongBytesError
from ..multiaddr import multiaddr_of
from ..printable import printable
from .kubo_rpc import CALL, LIST, KuboRpc, Query, failure
from .pin import Pin, Status

T = TypeVar("T")
LOG = logging.getLogger("holdfast.pins")
_CALL_S = 30.0  # for an answer
_PULL_S = 300.0  # without one more block: the network may be slow to find who has it
_STALL_S = 60.0  # without one more block of what it was sent: it only has to read them
_PINS_PER_CALL = 100
_NOT_PINNED = ("is not pinned", "not pinned or pinned indirectly")


@dataclass(slots=True)
class _Pull:
    """A pin that Kubo fetches: there is no such thing as a pin under way there, but while somebody asks."""

    pin: Pin
    thread: threading.Thread | None = None
    blocks: int = 0
    error: HoldfastError | None = None
    stop: threading.Event = field(default_factory=threading.Event)


class KuboPins:
    """A `PinTarget`. A request's id is its CID: Kubo has one pin of each. Construction does no IO."""

    takes_cars = True

    def __init__(self, provider: Provider, *, env: Mapping[str, str] | None = None) -> None:
        self.provider = provider
        self._rpc = KuboRpc(provider, env=env)
        self._pulls: dict[CID, _Pull] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """See `PinTarget.name`."""
        return self.provider.name

    def add(self, cid: CID, name: str, origins: Sequence[str]) -> Pin:
        """See `PinTarget.add`. Kubo fetches it while this process lives; said again after a kill, it goes on."""
        known = self.ls(cid, (Status.PINNED,))
        if known:
            return known[0]
        with self._lock:
            pull = self._pulls.get(cid.v1())
            if pull is not None and pull.error is None:
                return pull.pin
            pin = Pin(str(cid), cid, name, Status.PINNING, time.time_ns() // 1000, tuple(origins))
            pull = self._pulls[cid.v1()] = _Pull(pin)
            pull.thread = threading.Thread(target=self._run, args=(pull,), name="holdfast-kubo-pin", daemon=True)
            pull.thread.start()
        return pin

    def holds(self, cid: CID) -> bool:
        """See `CarTarget.holds`."""
        return self._rpc.holds(cid)

    def push(
        self, cid: CID, name: str, cars: Sequence[Iterable[bytes]], check: Callable[[], None] = lambda: None
    ) -> Pin:
        """See `CarTarget.push`. Kubo checks by pinning it that the DAG is complete.

        A gc there may take blocks between the two steps: then this fails, and may be said again.
        """
        blocks = self._import(cars)
        for _ in self._rpc.pin([cid], name, stall_s=_STALL_S):
            check()
        return _promise(cid, name, {"blocks": str(blocks)})

    def push_many(
        self,
        wanted: Sequence[tuple[CID, str]],
        cars: Sequence[Iterable[bytes]],
        check: Callable[[], None] = lambda: None,
    ) -> list[Pin]:
        """See `CarTarget.push_many`. A call pins 100 of one name: each of them alone would be a call, and a flush of
        Kubo's to disk, of its own.
        """
        self._import(cars)
        found: dict[CID, Pin] = {}
        names: dict[str, list[CID]] = {}
        for cid, name in dict(wanted).items():
            names.setdefault(name, []).append(cid)
        for name, cids in names.items():
            for at in range(0, len(cids), _PINS_PER_CALL):
                check()
                found |= self._pin_some(cids[at : at + _PINS_PER_CALL], name, check)
        self._announce([cid for cid, pin in found.items() if pin.status is Status.PINNED], check)
        return [found[cid] for cid, _ in wanted]

    def _pin_some(self, cids: Sequence[CID], name: str, check: Callable[[], None]) -> dict[CID, Pin]:
        """All in one call. Kubo pins them in order, and ends at the first that it cannot: the rest is another call."""
        found: dict[CID, Pin] = {}
        left = list(cids)
        while left:
            check()
            try:
                for _ in self._rpc.pin(left, name, stall_s=_STALL_S, announce=False):
                    check()
                pinned, why = len(left), ""
            except UnreachableError:
                raise
            except PeerError as error:
                pinned, why = sum(1 for _ in takewhile(self._pins, left)), error.message
            found |= {cid: _promise(cid, name) for cid in left[:pinned]}
            for cid in left[pinned : pinned + 1]:
                found[cid] = replace(_promise(cid, name, {"error": why}), status=Status.FAILED)
            left = left[pinned + 1 :]
        return found

    def _announce(self, cids: Sequence[CID], check: Callable[[], None]) -> None:
        """Once, at the end; a Kubo that cannot, or must not, keeps them all the same."""
        try:
            for at in range(0, len(cids), _PINS_PER_CALL):
                check()
                self._rpc.announce(cids[at : at + _PINS_PER_CALL])
        except HoldfastError as error:
            LOG.info("nothing was announced: %s", error.message)

    def _import(self, cars: Sequence[Iterable[bytes]]) -> int:
        """Send them at once; how many blocks came."""
        stop = threading.Event()

        def send(parts: Iterable[bytes]) -> int:
            try:
                return self._rpc.import_car(_until(stop, parts))
            except BaseException:
                stop.set()  # the others need not go on
                raise

        with ThreadPoolExecutor(len(cars), thread_name_prefix="holdfast-kubo-push") as pool:
            sent = [pool.submit(send, parts) for parts in cars]
            errors = [error for future in sent if (error := future.exception()) is not None]
        if errors:
            raise next((error for error in errors if not isinstance(error, _OthersFailedError)), errors[0])
        return sum(future.result() for future in sent)

    def status(self, requestid: str) -> Pin:
        """See `PinTarget.status`."""
        try:
            cid = CID.parse(requestid)
        except FormatError as error:
            raise MissingError(f"{self.name} has no pin {requestid[:80]!r}: there, a pin's id is its CID") from error
        with self._lock:
            pull = self._pulls.get(cid.v1())  # first: it is dropped once Kubo lists the pin
        known = self.ls(cid, (Status.PINNED,))
        if known:
            return known[0]
        if pull is None:
            raise MissingError(f"{self.name} has not pinned {cid.short()}")
        if pull.error is not None:
            return replace(pull.pin, status=Status.FAILED, info={"error": pull.error.message})
        return replace(pull.pin, info={"blocks": str(pull.blocks)})

    def ls(self, cid: CID | None = None, statuses: Collection[Status] = tuple(Status)) -> list[Pin]:
        """See `PinTarget.ls`. Those that Kubo fetches for us now come first."""
        with self._lock:
            pulls = [pull for pull in self._pulls.values() if cid is None or pull.pin.cid.v1() == cid.v1()]
        pinned = self._pins(cid)
        here = {pin.cid.v1() for pin in pinned}
        found = [
            replace(pull.pin, status=Status.FAILED if pull.error is not None else Status.PINNING)
            for pull in pulls
            if pull.pin.cid.v1() not in here
        ]
        return [pin for pin in (*found, *pinned) if pin.status in statuses]

    def _pins(self, cid: CID | None) -> list[Pin]:
        query: Query = {"type": "recursive", "stream": "true", "names": "true"}
        if cid is not None:
            query["arg"] = str(cid)
        try:
            found = [self._pinned(entry) for entry in self._rpc.objects("pin/ls", query, LIST if cid is None else CALL)]
        except PeerError as error:
            if any(words in error.message for words in _NOT_PINNED):
                return []
            raise
        return [pin for pin in found if cid is None or pin.cid.v1() == cid.v1()]

    def rm(self, requestid: str) -> None:
        """See `PinTarget.rm`."""
        try:
            cid = CID.parse(requestid)
        except FormatError:
            return
        with self._lock:
            pull = self._pulls.pop(cid.v1(), None)
        if pull is not None:
            pull.stop.set()
        try:
            if self._plain:
                self._control(lambda client: client.pin.rm(str(cid)))
            else:
                for _ in self._rpc.objects("pin/rm", {"arg": str(cid), "recursive": "true"}, CALL):
                    pass
        except PeerError as error:
            if not any(words in error.message for words in _NOT_PINNED):
                raise

    def version(self) -> str:
        """Of the Kubo there. Raises `PeerError` where nobody answers, or something else does."""
        if self._plain:
            found = self._control(lambda client: client.version())
        else:
            found = next(self._rpc.objects("version", {}, CALL), {})
        version = found.get("Version") if isinstance(found, Mapping) else None
        if not isinstance(version, str):
            raise WrongBytesError(f"{self.name} does not say its version: it is no Kubo")
        return printable(version, 100)

    @property
    def _plain(self) -> bool:
        """Whether ipfshttpclient can reach it: it takes no https, and no path."""
        parts = urlsplit(self.provider.url)
        return parts.scheme == "http" and not parts.path.strip("/")

    def close(self) -> None:
        """See `PinTarget.close`. What Kubo fetches for us ends."""
        with self._lock:
            pulls, self._pulls = list(self._pulls.values()), {}
        for pull in pulls:
            pull.stop.set()

    def _run(self, pull: _Pull) -> None:
        cid = pull.pin.cid
        try:
            for blocks in self._rpc.pin([cid], pull.pin.name, stall_s=_PULL_S):
                if pull.stop.is_set():
                    return
                pull.blocks = blocks
        except HoldfastError as error:
            pull.error = error
            return
        with self._lock:
            self._pulls.pop(cid.v1(), None)  # `ls` has it from now on

    def _pinned(self, entry: Mapping[str, Any]) -> Pin:
        try:
            cid = CID.parse(str(entry["Cid"]))
        except (KeyError, FormatError) as error:
            raise WrongBytesError(f"{self.name}: a pin without a CID") from error
        return Pin(str(cid), cid, printable(str(entry.get("Name") or "")), Status.PINNED, 0)

    def _control(self, call: Callable[[Any], T]) -> T:
        """One call of ipfshttpclient, in a session of its own; its errors become ours."""
        try:
            ipfshttpclient = import_module("ipfshttpclient")
        except ImportError as error:
            raise ConfigError("Kubo needs ipfshttpclient", hint='pip install "holdfast[kubo]"') from error
        # urllib3 warns of an option that ipfshttpclient sets: nothing that a user could do about it
        warnings.filterwarnings("ignore", message="The 'strict' parameter is no longer needed", category=FutureWarning)
        headers = self.provider.headers(self._rpc.env)
        try:
            with ipfshttpclient.Client(multiaddr_of(self.provider.url), headers=headers, timeout=_CALL_S) as client:
                return call(client)
        except ipfshttpclient.exceptions.ErrorResponse as error:
            raise failure(self.name, str(error)) from error
        except ipfshttpclient.exceptions.StatusError as error:
            status = int(getattr(getattr(error.original, "response", None), "status_code", 0) or 0)
            reply = Reply(status, b"", authorized="Authorization" in headers)
            raise refusal(self.name, reply, "", "this command") from error
        except ipfshttpclient.exceptions.CommunicationError as error:
            raise UnreachableError(f"{self.name} cannot be reached: {type(error).__name__}") from error
        except ipfshttpclient.exceptions.Error as error:
            raise WrongBytesError(f"{self.name} does not answer as Kubo does: {type(error).__name__}") from error


def _promise(cid: CID, name: str, info: Mapping[str, str] | None = None) -> Pin:
    return Pin(str(cid), cid, name, Status.PINNED, time.time_ns() // 1000, (), info or {})


class _OthersFailedError(Exception):
    """Another CAR of the same push failed."""


def _until(stop: threading.Event, parts: Iterable[bytes]) -> Iterator[bytes]:
    for part in parts:
        if stop.is_set():
            raise _OthersFailedError
        yield part

"""`ClusterPins`: an IPFS Cluster that is asked to keep a DAG: its peers allocate it, and fetch it by themselves.

Interface: ipfscluster.io/documentation/reference/api. A pin has a state at each peer; it counts as pinned when as
many as the roster's `replication_min` say so, or else all that it was allocated to.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from ...configs.roster import Provider
from ..cid import CID
from ..control import Control, Reply, refusal
from ..errors import ConfigError, FormatError, MissingError, UnreachableError, WrongBytesError
from ..printable import printable
from .pin import Pin, Status, parse_time

MAX_LIST_BYTES = 256 << 20  # 100,000 pins at three peers, 2 KB each
_FAILED = frozenset({"pin_error", "unpin_error", "cluster_error", "unexpectedly_unpinned"})
_UNDER_WAY = frozenset({"pinning", "pin_queued"})
_ELSEWHERE = frozenset({"remote", "unpinned"})  # peers that it was not allocated to
_LIST_S = 120.0


class ClusterPins:
    """A `PinTarget`. A request's id is its CID: a cluster has one pin of each. Construction does no IO."""

    takes_cars = False

    def __init__(self, provider: Provider, *, env: Mapping[str, str] | None = None) -> None:
        self.provider = provider
        self._control = Control(provider, env=env)

    @property
    def name(self) -> str:
        """See `PinTarget.name`."""
        return self.provider.name

    def add(self, cid: CID, name: str, origins: Sequence[str]) -> Pin:
        """See `PinTarget.add`. With the numbers of replicas of the roster, or the cluster's own; at peers of its tags.

        Raises `ConfigError` when too few peers carry these. A pin that is there already stays where it is.
        """
        known = self.ls(cid)
        if known and known[0].status is Status.PINNED:
            return known[0]
        tagged: list[str] = []
        query = {"name": name, "mode": "recursive"}
        low, high = self.provider.replication_min, self.provider.replication_max
        if self.provider.tags:  # a cluster prefers these, no more
            tagged = self._tagged(low or 1)
            low, high = low or len(tagged), min(high or len(tagged), len(tagged))
            query["user-allocations"] = ",".join(tagged)
        if low is not None:
            query["replication-min"] = str(low)
        if high is not None:
            query["replication-max"] = str(high)
        if named := [origin for origin in origins if "/p2p/" in origin]:  # it takes no others: its Kubos dial peers
            query["origins"] = ",".join(named)
        allocated = self._ask("POST", f"/pins/{cid}?{urlencode(query)}").get("allocations")
        if tagged and not (isinstance(allocated, list) and set(map(str, allocated)) <= set(tagged)):
            if not known:
                self.rm(str(cid))
            raise UnreachableError(  # a peer of which some metric has not come yet is passed over
                f"{self.name} allocated it to peers without the tags of the roster"
            )
        return self.status(str(cid))

    def status(self, requestid: str) -> Pin:
        """See `PinTarget.status`. `info`: how many peers say what, and the first error."""
        try:
            cid = CID.parse(requestid)
        except FormatError as error:
            raise MissingError(f"{self.name} has no pin {requestid[:80]!r}: there, a pin's id is its CID") from error
        found = self._pin(self._ask("GET", f"/pins/{quote(str(cid), safe='')}"))
        if found is not None and found.cid.v1() != cid.v1():
            raise WrongBytesError(f"{self.name} answers for another CID than {cid.short()}")
        if found is None:
            raise MissingError(f"{self.name} has not pinned {cid.short()}")
        return found

    def ls(self, cid: CID | None = None, statuses: Collection[Status] = tuple(Status)) -> list[Pin]:
        """See `PinTarget.ls`."""
        if cid is not None:
            try:
                found = [self.status(str(cid))]
            except MissingError:
                found = []
        else:
            entries = self._lines("GET", "/pins")
            found = [pin for entry in entries if (pin := self._pin(entry)) is not None]
        return [pin for pin in found if pin.status in statuses]

    def rm(self, requestid: str) -> None:
        """See `PinTarget.rm`."""
        try:
            self._ask("DELETE", f"/pins/{CID.parse(requestid)}")
        except (MissingError, FormatError):
            return

    def close(self) -> None:
        """See `PinTarget.close`. Connections last as long as a call."""

    def _tagged(self, least: int) -> list[str]:
        """The peers that carry every tag of the roster, by what their informers said last; `ConfigError` for fewer."""
        found: set[str] | None = None
        for tag, value in self.provider.tags.items():
            metrics = _parsed(self.name, self._call("GET", f"/monitor/metrics/{quote(f'tag:{tag}', safe='')}").body)
            if not isinstance(metrics, list):  # null where nobody has such a tag
                metrics = []
            here = {
                str(metric.get("peer"))
                for metric in metrics
                if isinstance(metric, dict) and metric.get("valid") is True and metric.get("value") == value
            }
            found = here if found is None else found & here
        if found is None or len(found) < least:
            wanted = ", ".join(f"{tag}={value}" for tag, value in self.provider.tags.items())
            said = f"only {len(found)} of {least} peers" if found else "no peer"
            raise ConfigError(
                f"{said} of {self.name} is tagged {wanted}",
                hint="correct tags of this provider in the roster, or set the informer of its peers (service.json)",
            )
        return sorted(found)

    def _ask(self, method: str, target: str) -> dict[str, Any]:
        found = _parsed(self.name, self._call(method, target).body)
        if not isinstance(found, dict):
            raise WrongBytesError(f"{self.name}: the answer is not a JSON object")
        return found

    def _lines(self, method: str, target: str) -> Iterator[dict[str, Any]]:
        for line in self._call(method, target, MAX_LIST_BYTES, _LIST_S).body.splitlines():
            found = _parsed(self.name, line)
            if not isinstance(found, dict):
                raise WrongBytesError(f"{self.name}: the answer is not a row of JSON objects")
            yield found

    def _call(self, method: str, target: str, max_bytes: int = 1 << 20, timeout_s: float = 30.0) -> Reply:
        reply = self._control.call(method, target, max_bytes=max_bytes, timeout_s=timeout_s)
        if 200 <= reply.status < 300:
            return reply
        raise refusal(self.name, reply, _said(reply.body), "this pin")

    def _pin(self, entry: Mapping[str, Any]) -> Pin | None:
        """One pin; None for one that the cluster only remembers."""
        try:
            cid = CID.parse(str(entry["cid"]))
            created = parse_time(str(entry.get("created") or "1970-01-01T00:00:00Z"))
        except (KeyError, FormatError, ValueError, OverflowError) as error:
            raise WrongBytesError(f"{self.name}: a pin without a CID, or with a wrong time") from error
        peers = entry.get("peer_map")
        states = [peer for peer in peers.values() if isinstance(peer, dict)] if isinstance(peers, dict) else []
        counts = Counter(str(peer.get("status")) for peer in states)
        if not states or set(counts) <= {"unpinned"}:
            return None
        allocated = sum(count for word, count in counts.items() if word not in _ELSEWHERE)
        needed = self.provider.replication_min or max(allocated, 1)  # its own minimum is not in the answer: all, then
        info = {"peers": printable(", ".join(f"{count} {word}" for word, count in sorted(counts.items())))}
        if words := next((str(peer["error"]) for peer in states if peer.get("error")), ""):
            info["error"] = printable(words)
        if counts["pinned"] >= needed:
            status = Status.PINNED
        elif any(word in _UNDER_WAY for word in counts):
            status = Status.PINNING
        elif any(word in _FAILED for word in counts):
            status = Status.FAILED
        else:
            status = Status.QUEUED
        return Pin(str(cid), cid, printable(str(entry.get("name") or "")), status, created, (), info)


def _said(body: bytes) -> str:
    """Its words for a refusal: the first line; what was asked for may follow it."""
    try:
        found = json.loads(body.partition(b"\n")[0])
    except (ValueError, RecursionError):
        return ""
    words = str(found.get("message") or "") if isinstance(found, dict) else ""
    return printable(words, 200)


def _parsed(name: str, body: bytes) -> object:
    try:
        return json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise WrongBytesError(f"{name}: the answer is not JSON") from error

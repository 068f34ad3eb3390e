"""Many small roots on a Kubo, many shards of one root, and the state of many pins."""

from __future__ import annotations

import http.client
import random
import shutil
import time
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from holdfast.configs.roster import Provider
from holdfast.pipeline.place.many import place_many
from holdfast.pipeline.place.placing import CARS
from holdfast.pipeline.place.state import Placed, Placements
from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.car_file import cars
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID, RAW
from holdfast.storage.dag.car import encode_header, encode_section
from holdfast.storage.pins.kubo import KuboPins
from holdfast.storage.pins.pin import Status
from support.kubo import Kubo

from ..goal import Goal
from ..servers import peer
from .setting import Setting, timed

_ROOTS, _ROOT_BYTES = 10_000, 2_000
_SHARDS, _SHARD_BYTES = 10_000, 4_096
_PINS = 100_000
_BOUNDARY = "4f1d0c6b2a"


def goals(setting: Setting) -> list[Goal]:
    """Sending and pinning counts in both; reading back, which is ours alone, is said beside it."""
    many = Goal(f"{_ROOTS} small roots pinned on a Kubo / one RPC call at a time: rate", 3.0)
    push = Goal(f"{_SHARDS} shards of 4 KB: pushed as CARs / fetched by the Kubo from our peer: rate", 1.0)
    status = Goal(f"pin status over {_PINS} pins", 2.0, at_least=False, unit="s")
    roots = {CID.of(RAW, data): data for data in map(random.Random(4).randbytes, [_ROOT_BYTES] * _ROOTS)}
    dataset = _Dataset(setting)
    for number in range(setting.rounds):
        with setting.memory.lend(), setting.kubo() as kubo:
            alone = timed(lambda kubo=kubo: _one_by_one(kubo, roots))
        with setting.memory.lend(), setting.kubo() as kubo:
            floor = timed(lambda kubo=kubo: _in_few_calls(kubo, roots))
        with setting.memory.lend(), setting.kubo() as kubo:
            ours = _placed(setting, kubo, roots, read_back=False)
        with setting.memory.lend(), setting.kubo() as kubo:
            placed = _placed(setting, kubo, roots, read_back=True)
        many.runs.append(alone / ours)
        pushed, pulled = dataset.pushed(), dataset.pulled()
        push.runs.append(pulled / pushed)
        status.runs.append(_status(setting))
        setting.say(
            f"pins {number}: {_ROOTS} roots one by one {alone:.1f} s, by 20 calls without names {floor:.1f} s, at once "
            f"{ours:.1f} s, noted and read back {placed:.1f} s; {_SHARDS} shards pushed {pushed:.1f} s, pulled "
            f"{pulled:.1f} s; status {status.runs[-1]:.2f} s"
        )
    return [many, push, status]


def _one_by_one(kubo: Kubo, roots: dict[CID, bytes]) -> None:
    """A call for each, which sends and pins it, over one connection."""
    _import_pinning(kubo, [[item] for item in roots.items()])


def _in_few_calls(kubo: Kubo, roots: dict[CID, bytes]) -> None:
    """What Kubo itself needs, whoever asks: 500 a call, ready in memory; it hangs where a block is missing."""
    items = list(roots.items())
    _import_pinning(kubo, [items[at : at + 500] for at in range(0, len(items), 500)])


def _import_pinning(kubo: Kubo, calls: list[list[tuple[CID, bytes]]]) -> None:
    parts = urlsplit(kubo.api)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    kind = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'.encode()
    for blocks in calls:
        sections = b"".join(encode_section(cid, data) for cid, data in blocks)
        car = encode_header([cid for cid, _ in blocks]) + sections
        body = head + car + f"\r\n--{_BOUNDARY}--\r\n".encode()
        connection.request("POST", "/api/v0/dag/import?pin-roots=true&fast-provide-root=false", body, kind)
        answer = connection.getresponse().read()
        assert answer.count(b'"PinErrorMsg":""') == len(blocks), answer
    connection.close()


def _placed(setting: Setting, kubo: Kubo, roots: dict[CID, bytes], *, read_back: bool) -> float:
    """Seconds: out of a repository, noted in the database; without a gateway nothing is read back."""
    repo = setting.work / "many"
    provider = Provider(name="k", kind="kubo", url=kubo.api, gateway=kubo.gateway if read_back else None)
    with DiskStore(repo).open() as store:
        for cid, data in roots.items():
            store.put(cid, data)
        started = time.perf_counter()
        found = place_many(store, dict.fromkeys(roots, ""), [provider], Placements(repo / "placements.sqlite"))
        seconds = time.perf_counter() - started
    assert all(one.counts if read_back else one.kept for one in found)
    shutil.rmtree(repo)
    return seconds


def _status(setting: Setting) -> float:
    """The whole command, Python's start included."""
    repo = setting.work / "status"
    if not repo.exists():
        rows = [
            Placed(
                f"provider {number % 4}", "http://127.0.0.1:9", CID.of(RAW, number.to_bytes(8, "big")), "kubo", "n",
                "id", Status.PINNED, promised_us=1, proven_us=number % 3, leaves=8,
            )
            for number in range(_PINS)
        ]  # fmt: skip
        with DiskStore(repo).open():
            Placements(repo / "placements.sqlite").note_all(rows)
    return timed(partial(setting.holdfast, "pin", "status", "--repo", repo))


class _Dataset:
    """Many small shards."""

    def __init__(self, setting: Setting) -> None:
        self._setting, self._repo = setting, setting.work / "shards"
        source = setting.work / "small"
        _write(source)
        self._root = publish(source, name="s", repo=self._repo, format="tokens", dtype="uint16").root

    def pushed(self) -> float:
        """Seconds until it is pinned, sent as CARs."""
        lend = self._setting.memory.lend
        with lend(), self._setting.kubo() as kubo, DiskStore(self._repo).open(create=False) as store:
            target = KuboPins(Provider(name="k", kind="kubo", url=kubo.api))
            return timed(lambda: target.push(self._root, "s", cars(store, [self._root], CARS)))

    def pulled(self) -> float:
        """Seconds until it is pinned, fetched by HTTP from our peer."""
        with self._setting.memory.lend(), peer(self._repo) as ours, self._setting.kubo(ours) as kubo:
            return timed(lambda: kubo.run("pin", "add", self._root))


def _write(folder: Path) -> None:
    numbers = random.Random(6)
    folder.mkdir()
    for number in range(_SHARDS):
        (folder / f"{number:06d}.bin").write_bytes(numbers.randbytes(_SHARD_BYTES))

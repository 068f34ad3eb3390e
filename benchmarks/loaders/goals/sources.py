"""Three sources; in mid-epoch one is killed and one begins to lie: what is left must be used to the full."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast import publish
from holdfast.demo.faults.behaviour import Behaviour
from holdfast.demo.faults.server import FaultServer
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.get import get

from ... import corpora
from ...goal import Goal
from .setting import Setting

_RATE = 20_000_000  # bytes a second of each source
_SAMPLES, _BATCH = 6_400, 64
_EVENT_AT = 1 / 3  # of the batches
_POLL_S = 0.02
_LIMIT_S = 600.0

_PROGRAM = """
import hashlib, json, sys, threading, time
import holdfast
uri, cache, batch, *sources = sys.argv[1:]
loader = holdfast.DataLoader(uri, int(batch), sources=sources, seed=1, cache=cache, collate_fn=list)
digest, last, gap, count, log = hashlib.sha256(), None, 0.0, 0, []
def watch():
    while True:
        log.append((time.monotonic(), loader.dataset.stats().verified_bytes))
        time.sleep(0.02)
for rows in loader:
    if not count:
        threading.Thread(target=watch, daemon=True).start()
    now = time.monotonic()
    gap, last, count = max(gap, now - last if last else 0.0), now, count + 1
    for row in rows:
        digest.update(row["__key__"].encode() + row["jpg"] + row["cls"])
    print(json.dumps({"batch": count, "gap": gap}), flush=True)
print(json.dumps({"digest": digest.hexdigest(), "log": log}), flush=True)
"""


@dataclass(frozen=True)
class _Epoch:
    """`rate`: verified bytes a second after the event; 0 without one. `lies`: wrong answers that were sent."""

    digest: str
    longest_gap_s: float
    rate: float
    lies: int


def goals(setting: Setting) -> list[Goal]:
    """Each source has 20 MB/s; the one that stays honest has to be used by 95 %, and no batch may wait for a second."""
    rate = Goal("one source killed, one lying: bytes a second afterwards / the honest one's", 0.95)
    stall = Goal("the same: longest wait between two batches", 1.0, at_least=False, unit="s")
    same = Goal("the same: batches as in an undisturbed epoch (1: byte for byte)", 1.0)
    count = max(1280, int(_SAMPLES * setting.scale))
    source, repo, mirror = (setting.work / name for name in ("source", "repo", "mirror"))
    corpora.make_images(source, count)
    uri = publish(source, name="s", repo=repo).uri
    with DiskStore(repo).open(create=False) as store:
        get(uri, mirror, store=store)
    for _ in range(setting.rounds):
        calm = _epoch(uri, mirror, count, setting.work / "calm", disturbed=False)
        rough = _epoch(uri, mirror, count, setting.work / "rough", disturbed=True)
        rate.runs.append(rough.rate / _RATE)
        stall.runs.append(rough.longest_gap_s)
        same.runs.append(float(calm.digest == rough.digest))
        stall.detail = f"undisturbed {calm.longest_gap_s:.2f} s"
        rate.detail = f"{rough.rate / 1e6:.1f} of {_RATE / 1e6:.0f} MB/s, {rough.lies} wrong answers sent"
        setting.say(f"{rate.name}: {rate.runs[-1]:.3f}; stall {stall.runs[-1]:.2f} s; same: {same.runs[-1]:.0f}")
    return [rate, stall, same]


def _epoch(uri: str, mirror: Path, count: int, cache: Path, *, disturbed: bool) -> _Epoch:
    event_at = int(count / _BATCH * _EVENT_AT)
    with ExitStack() as stack:
        servers = [stack.enter_context(FaultServer(mirror, rate_bytes_s=_RATE)) for _ in range(3)]
        urls = [server.url for server in servers]
        happened = 0.0
        child = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, uri, str(cache), str(_BATCH), *urls], stdout=subprocess.PIPE, text=True
        )
        stack.callback(child.kill)  # also when we are told to end
        timer = threading.Timer(_LIMIT_S, child.kill)
        timer.start()
        said: dict[str, Any] = {}
        assert child.stdout is not None
        for line in child.stdout:
            said |= json.loads(line)
            if disturbed and not happened and said["batch"] >= event_at:
                happened = time.monotonic()
                servers[0].play(Behaviour("UNREACHABLE", "refused"))
                servers[1].play(Behaviour("UNREACHABLE", "refused"))  # or answers under way would go on honestly
                servers[1].play(Behaviour("WRONG_BYTES", "one-bit", paths="data/*"))
        timer.cancel()
        if child.wait():
            raise SystemExit("the loader failed; see above")
        lies = servers[1].stats().played["WRONG_BYTES/one-bit"]
    if disturbed and not lies:
        raise SystemExit("the liar was never asked again: nothing is shown by this; take a larger --scale")
    shutil.rmtree(cache)
    rate = _rate_since(happened, said["log"]) if happened else 0.0
    return _Epoch(said["digest"], said["gap"], rate, lies)


def _rate_since(happened: float, log: list[tuple[float, int]]) -> float:
    """Verified bytes a second from the event until there were no more to come."""
    before = max((done for at, done in log if at <= happened), default=0)
    last = log[-1][1]
    end = min(at for at, done in log if done == last)
    return (last - before) / max(end - happened, 1e-3)

"""`Chaos`: kills, stops and freezes hosts, and brings them back; a sound one is always left."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from .hosts import Host

_PAUSE_S = (0.3, 2.0)  # between two disturbances
_DOWN_S = (0.5, 5.0)
_RETRY_S = 1.0


class Chaos:
    """A thread. `counts`: what was done, by (kind of host, what). `wrong`: hosts that died by themselves."""

    def __init__(self, hosts: Sequence[Host], seed: int, on_event: Callable[[str], None] = lambda _: None) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []
        self._hosts, self._numbers, self._on_event = hosts, random.Random(seed), on_event
        self._due: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos", daemon=True)

    def __enter__(self) -> Chaos:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Everybody is back when this returns."""
        self._stop.set()
        self._thread.join()
        for host in self._hosts:
            self._bring_back(host)

    def _run(self) -> None:
        next_at = time.monotonic()
        while True:
            now = time.monotonic()
            for host in self._hosts:
                if host.state == "up" and host.process is not None and host.process.poll() is not None:
                    self.wrong.append(f"{host.name} ended by itself: see {host.log}")
                    host.end(signal.SIGKILL)
                    self._due[host.name] = now
                if host.name in self._due and self._due[host.name] <= now:
                    self._bring_back(host)
            if next_at <= now:
                self._disturb()
                next_at = now + self._numbers.uniform(*_PAUSE_S)
            if self._stop.wait(max(min([next_at, *self._due.values()]) - time.monotonic(), 0.01)):
                return

    def _disturb(self) -> None:
        host = self._numbers.choice(self._hosts)
        what = self._numbers.choice(["kill -9", "kill -9", "stop", "freeze"]) if host.killable else "freeze"
        down_s = self._numbers.uniform(*_DOWN_S)
        if host.state != "up" or not self._is_one_left_without(host):
            return
        if what == "freeze":
            host.freeze()
        else:
            host.end(signal.SIGKILL if what == "kill -9" else signal.SIGTERM)
        self.counts[(host.kind, what)] += 1
        self._due[host.name] = time.monotonic() + down_s
        self._on_event(f"{what} {host.name}")

    def _is_one_left_without(self, host: Host) -> bool:
        return any(
            other.state == "up" for other in self._hosts if other.honest and other.kind != "slow" and other is not host
        )

    def _bring_back(self, host: Host) -> None:
        self._due.pop(host.name, None)
        if host.state == "frozen":
            host.thaw()
        elif host.state == "down" and not host.start():
            self.counts[(host.kind, "start failed")] += 1
            self._due[host.name] = time.monotonic() + _RETRY_S

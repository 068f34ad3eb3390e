"""What goes on beside the training: pins come and go, gc runs, copies are fetched, providers are audited."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Callable

from .world import World, holdfast

_BUG = 70


class Housework:
    """A thread that does one thing after another by the command line. `wrong`: what must not happen, in words.

    `rounds`: how often all of it was done.
    """

    def __init__(self, world: World, seed: int, pause_s: float) -> None:
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.rounds = 0
        self._world, self._numbers, self._pause_s = world, random.Random(seed), pause_s
        self._sound = {host.url for host in world.hosts if host.honest}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housework", daemon=True)

    def __enter__(self) -> Housework:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        tasks: list[Callable[[], None]] = [self._pins, self._copy, self._collect, self._audit]
        while True:
            for task in tasks:
                try:
                    task()
                except subprocess.TimeoutExpired as error:
                    self.wrong.append(f"{task.__name__}: no end after {error.timeout:.0f} s: {error.cmd}")
                except Exception as error:
                    self.wrong.append(f"{task.__name__}: {error!r}")
                if self._stop.wait(self._pause_s):
                    return
            self.rounds += 1

    def _do(self, what: str, *arguments: str, allowed: tuple[int, ...] = (0,)) -> dict[str, object] | None:
        done = holdfast(*arguments, "--json")
        self.counts[f"{what}: {'done' if done.returncode == 0 else f'exit {done.returncode}'}"] += 1
        if done.returncode not in allowed:
            self.wrong.append(f"{' '.join(arguments[:3])}: exit {done.returncode}: {done.stdout} {done.stderr}")
        return json.loads(done.stdout) if done.stdout.startswith("{") and done.returncode != _BUG else None

    def _pins(self) -> None:
        """A peer takes another dataset and lets go of it. It may be dead or frozen: then that is the answer."""
        peer = self._numbers.choice(self._world.peers)
        to = ("--to", peer.url, "--token-file", str(self._world.token_file(peer)))
        origin = ("--origin", self._world.origin.url)
        self._do("pin add", "pin", "add", self._world.other, *to, *origin, "--wait", "15s", allowed=(0, 1, 2, 3))
        self._do("pin rm", "pin", "rm", self._world.other, *to, allowed=(0, 2, 3))

    def _copy(self) -> None:
        """A new reader, who does not know yet who lies."""
        copy = self._world.place / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        found = self._do("get", "get", self._world.root, str(copy), *self._everybody())
        for source in (found or {}).get("sources", ()):  # type: ignore[attr-defined]
            if source["wrong"] and source["url"] in self._sound:
                self.wrong.append(f"get blames {source['url']}, which is honest")
        self._do("verify", "verify", str(copy), "--root", self._world.root.removeprefix("ipfs://"))

    def _collect(self) -> None:
        for peer in self._world.peers:
            self._do("gc", "gc", "--repo", str(self._world.repo(peer)))

    def _audit(self) -> None:
        arguments = ("--samples", "48", "--deadline", "3s")
        found = self._do("audit", "audit", self._world.root, *arguments, *self._everybody(), allowed=(0, 1, 3))
        for provider in (found or {}).get("providers", ()):  # type: ignore[attr-defined]
            self.counts[f"audit verdict {provider['verdict']}"] += 1
            if provider["url"] in self._sound and provider["verdict"] in ("WRONG_BYTES", "MISSING", "OVERSIZE"):
                self.wrong.append(f"audit: {provider['url']} is honest and got {provider}")

    def _everybody(self) -> list[str]:
        return [part for host in self._world.hosts for part in ("--from", host.url)]

    def settle(self) -> None:
        """At the end, with everybody up: both repositories are whole, and each peer alone has it all."""
        for peer in self._world.peers:
            self._do("repo verify", "repo", "verify", "--repo", str(self._world.repo(peer)))
            self._do("verify at a peer", "verify", self._world.root, "--from", peer.url)

"""`Host`: a provider in a process of its own that can be killed, frozen and started again on its port."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_READY_S = 60.0
_PORTS = range(20000, 32000)  # below those that the kernel gives to clients: a dead host's port stays free for it
TESTS = Path(__file__).parents[1]


@dataclass
class Host:
    """`command` is run with PORT replaced. `honest`: its bytes are right, and nobody may blame it for wrong ones."""

    name: str
    kind: str  # peer, static, liar, slow
    command: list[str]
    log: Path
    honest: bool = True
    killable: bool = True
    port: int = 0
    state: str = "down"  # up, down, frozen
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Where it is, up or not."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> bool:
        """Run it, and wait until it says that it is there; False when it did not come up."""
        self.port = self.port or _free_port()
        command = [part.replace("PORT", str(self.port)) for part in self.command]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True, cwd=TESTS,
                start_new_session=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], _READY_S)
        try:
            there = bool(json.loads(self.process.stdout.readline() if ready else "")["url"])
        except ValueError:
            there = False
        if there:
            self.state = "up"
        else:
            self.end(signal.SIGKILL)
        return there

    def freeze(self) -> None:
        """SIGSTOP: its connections stay open and say nothing."""
        os.kill(self.pid, signal.SIGSTOP)
        self.state = "frozen"

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)
        self.state = "up"

    def end(self, number: signal.Signals) -> None:
        """Signal it, and wait. Idempotent."""
        if self.process is None:
            return
        if self.state == "frozen":
            self.thaw()
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process, self.state = None, "down"


def peer(name: str, folder: Path, *, killable: bool) -> Host:
    """`holdfast serve` over `folder/repo`."""
    token = folder / "token"
    token.write_text("soak-token")
    command = [
        sys.executable, "-m", "holdfast", "serve", "--repo", str(folder / "repo"), "--listen", "127.0.0.1:PORT",
        "--token-file", str(token), "--allow-net", "127.0.0.0/8", "--json",
    ]  # fmt: skip
    return Host(name, "peer", command, folder / "log", killable=killable)


def static(name: str, kind: str, folder: Path, place: Path, *options: str) -> Host:
    """A plain host of `folder`."""
    command = [sys.executable, "-m", "soak.static_host", str(folder), "PORT", *options]
    return Host(name, kind, command, place / f"{name}.log", honest=kind != "liar")


def _free_port() -> int:
    for _ in range(200):
        port = random.choice(_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("no free port below 32000")

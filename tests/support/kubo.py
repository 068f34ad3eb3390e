"""A real Kubo in a folder of its own: no bootstrap, loopback only, telemetry off, stopped by its process id."""

from __future__ import annotations

import base64
import json
import os
import shlex
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from holdfast.storage.cid import CID

from .daemon import Daemon
from .full_disk import small_disk

DAEMONS = Path(__file__).parents[2] / "build/daemons"
_READY = "Daemon is ready"
_COMMAND_S = 60.0


class Kubo:
    """A context manager. `config`: dotted keys and JSON values, set before the daemon starts.

    `disk_bytes`: its folder is a file system of this size, which only the daemon sees: `run` is not for it.
    """

    def __init__(
        self, folder: Path, config: Mapping[str, object] | None = None, *, disk_bytes: int | None = None
    ) -> None:
        self.folder, self._config, self._disk_bytes = folder, dict(config or {}), disk_bytes
        self._daemon: Daemon | None = None
        self.api = self.gateway = ""

    def __enter__(self) -> Kubo:
        if self._disk_bytes is not None:
            return self._on_a_small_disk(self._disk_bytes)
        if not self.folder.exists():
            for command in self._preparing():
                self.run(*command)
        self._daemon = Daemon([DAEMONS / "ipfs", "daemon"], self._environment(), _READY).start()
        self.api, self.gateway = (url_of_address((self.folder / name).read_text()) for name in ("api", "gateway"))
        return self

    def __exit__(self, *_: object) -> None:
        if self._daemon is not None:
            self._daemon.stop()

    def _preparing(self) -> Iterator[list[str]]:
        yield ["init", "--profile=test,unixfs-v1-2025", "--empty-repo"]
        yield ["config", "Plugins.Plugins.telemetry.Config.Mode", "off"]
        for key, value in self._config.items():
            yield ["config", "--json", key, json.dumps(value)]

    def _on_a_small_disk(self, size: int) -> Kubo:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._config["Addresses.API"] = f"/ip4/127.0.0.1/tcp/{port}"
        steps = [shlex.join([str(DAEMONS / "ipfs"), *step]) for step in (*self._preparing(), ["daemon"])]
        steps[-1] = f"exec {steps[-1]}"  # else a signal would end the shell, and not the daemon
        script = " && ".join(steps)
        self._daemon = Daemon([*small_disk(self.folder, size), "sh", "-c", script], self._environment(), _READY).start()
        self.api = f"http://127.0.0.1:{port}"
        return self

    def kill(self) -> None:
        """As when its machine fails; entered again, it goes on with what is on its disk."""
        if self._daemon is not None:
            self._daemon.kill()

    def forget(self, cid: CID) -> None:
        """Remove the file of a block, as a disk that fails does."""
        key = base64.b32encode(cid.multihash).decode().rstrip("=")
        (self.folder / "blocks" / key[-3:-1] / f"{key}.data").unlink()

    def run(self, *arguments: object, stdin: bytes = b"") -> bytes:
        """What `ipfs …` prints; an error of it is one of the test."""
        done = subprocess.run(
            [DAEMONS / "ipfs", *map(str, arguments)],
            env=self._environment(), input=stdin, capture_output=True, timeout=_COMMAND_S,
        )  # fmt: skip
        assert done.returncode == 0, f"ipfs {' '.join(map(str, arguments))}: {done.stderr.decode()}"
        return done.stdout

    def text(self, *arguments: object, stdin: bytes = b"") -> str:
        """The same, as text without the last line break."""
        return self.run(*arguments, stdin=stdin).decode().strip()

    def json(self, *arguments: object, stdin: bytes = b"") -> Any:
        """The same, parsed."""
        return json.loads(self.run(*arguments, "--enc=json", stdin=stdin))

    @property
    def peer_id(self) -> str:
        """Of its own key."""
        return str(self.json("id")["ID"])

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("IPFS_")}
        return {**kept, "IPFS_PATH": str(self.folder), "IPFS_TELEMETRY": "off"}


def url_of_address(multiaddr: str) -> str:
    """Of /ip4/ADDRESS/tcp/PORT[/http], or a URL as it is."""
    text = multiaddr.strip()
    if text.startswith("http"):
        return text
    _, _, host, _, port, *_ = text.split("/")
    return f"http://{host}:{port}"

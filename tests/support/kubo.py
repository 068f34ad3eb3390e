"""A real Kubo in a folder of its own: no bootstrap, loopback only, telemetry off, stopped by its process id."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .daemon import Daemon

DAEMONS = Path(__file__).parents[2] / "build/daemons"
_READY = "Daemon is ready"
_COMMAND_S = 60.0


class Kubo:
    """A context manager. `config`: dotted keys and JSON values, set before the daemon starts."""

    def __init__(self, folder: Path, config: Mapping[str, object] | None = None) -> None:
        self.folder, self._config = folder, dict(config or {})
        self._daemon: Daemon | None = None
        self.api = self.gateway = ""

    def __enter__(self) -> Kubo:
        if not self.folder.exists():
            self.run("init", "--profile=test,unixfs-v1-2025", "--empty-repo")
            self.run("config", "Plugins.Plugins.telemetry.Config.Mode", "off")
            for key, value in self._config.items():
                self.run("config", "--json", key, json.dumps(value))
        self._daemon = Daemon([DAEMONS / "ipfs", "daemon"], self._environment(), _READY).start()
        self.api, self.gateway = (url_of_address((self.folder / name).read_text()) for name in ("api", "gateway"))
        return self

    def __exit__(self, *_: object) -> None:
        if self._daemon is not None:
            self._daemon.stop()

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

"""A real Kubo in a folder of its own: no bootstrap, loopback only, telemetry off, stopped by its process id."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DAEMONS = Path(__file__).parents[2] / "build/daemons"
_READY = "Daemon is ready"
_START_S, _STOP_S, _COMMAND_S = 60.0, 20.0, 60.0


class Kubo:
    """A context manager. `config`: dotted keys and JSON values, set before the daemon starts."""

    def __init__(self, folder: Path, config: Mapping[str, object] | None = None) -> None:
        self.folder, self._config = folder, dict(config or {})
        self._daemon: subprocess.Popen[str] | None = None
        self._reader = threading.Thread()
        self.api = self.gateway = ""

    def __enter__(self) -> Kubo:
        if not self.folder.exists():
            self.run("init", "--profile=test,unixfs-v1-2025", "--empty-repo")
            self.run("config", "Plugins.Plugins.telemetry.Config.Mode", "off")
            for key, value in self._config.items():
                self.run("config", "--json", key, json.dumps(value))
        self._daemon = subprocess.Popen(
            [DAEMONS / "ipfs", "daemon"], env=self._environment(), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            self._wait_until_ready(self._daemon)
        except BaseException:
            self._stop()
            raise
        return self

    def _wait_until_ready(self, daemon: subprocess.Popen[str]) -> None:
        said: list[str] = []
        ready = threading.Event()

        def read() -> None:
            assert daemon.stdout is not None
            for line in daemon.stdout:
                said.append(line)
                if _READY in line:
                    ready.set()
            ready.set()

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()
        assert ready.wait(_START_S), f"not ready after {_START_S} s: {''.join(said)}"
        assert daemon.poll() is None, f"the daemon ended: {''.join(said)}"
        self.api, self.gateway = (url_of_address((self.folder / name).read_text()) for name in ("api", "gateway"))

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        daemon, self._daemon = self._daemon, None
        if daemon is None:
            return
        daemon.terminate()
        try:
            daemon.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        self._reader.join(_STOP_S)
        assert daemon.stdout is not None
        daemon.stdout.close()

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

"""Peers as separate processes: `holdfast serve`, each with a folder and a token of its own."""

from __future__ import annotations

import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from ..configs.errors import HoldfastError

_READY_S = 30.0


@dataclass
class PeerProcess:
    """One peer. `start` may be called again after a kill: it comes back on the same port, with the same folder."""

    name: str
    folder: Path
    url: str = ""
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    @property
    def token_file(self) -> Path:
        """The bearer token of its pinning service."""
        return self.folder / "token"

    def start(self) -> str:
        """Run it, and wait until it answers; returns its URL."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.token_file.exists():
            self.token_file.write_text(secrets.token_urlsafe(24))
            self.token_file.chmod(0o600)
        listen = self.url.removeprefix("http://") or "127.0.0.1:0"
        command = [
            sys.executable, "-m", "holdfast", "serve", "--repo", str(self.folder / "repo"), "--listen", listen,
            "--token-file", str(self.token_file), "--allow-net", "127.0.0.0/8", "--json",
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
                command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True, start_new_session=True
            )
        self.url = str(self._first_line()["url"])
        return self.url

    def _first_line(self) -> dict[str, object]:
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as waiting:  # select() takes no descriptor above 1,023: the trainer has many
            waiting.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline() if waiting.select(_READY_S) else ""
        try:
            found = json.loads(line)
            if isinstance(found, dict) and "url" in found:
                return found
        except ValueError:
            pass
        self.kill()
        raise HoldfastError(
            f"peer {self.name} did not start: {line.strip() or 'no answer'}", hint=f"see {self.folder / 'log'}"
        )

    def kill(self) -> None:
        """SIGKILL: no chance to clean up."""
        self._end(signal.SIGKILL)

    def stop(self) -> int | None:
        """SIGTERM, and wait; returns the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int | None:
        if self._process is None:
            return None
        if self._process.poll() is None:
            os.kill(self._process.pid, number)
            deadline = time.monotonic() + 10
            while self._process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            if self._process.poll() is None:
                self._process.kill()
        code = self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None
        return code

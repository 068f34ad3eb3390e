"""A program that runs until it is stopped by its process id, and says in a line when it is ready."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence

_START_S, _STOP_S = 60.0, 20.0


class Daemon:
    """`start` returns once the line came; `stop` ends it, and may be called twice."""

    def __init__(self, command: Sequence[object], environment: Mapping[str, str], ready: str) -> None:
        self._command, self._environment, self._ready = [str(part) for part in command], environment, ready
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread()

    @property
    def pid(self) -> int:
        """Of the running program."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Daemon:
        """Run it. An end before it is ready, or silence, is an error with all that it said."""
        self._process = subprocess.Popen(
            self._command, env=dict(self._environment), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        process, said, ready = self._process, list[str](), threading.Event()

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                if self._ready in line:
                    ready.set()
            ready.set()

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()
        try:
            assert ready.wait(_START_S), f"not ready after {_START_S} s: {''.join(said)}"
            assert process.poll() is None, f"it ended: {''.join(said)}"
        except BaseException:
            self.stop()
            raise
        return self

    def kill(self) -> None:
        """SIGKILL, as when a machine fails."""
        if self._process is not None:
            self._process.kill()
            self.stop()

    def stop(self) -> None:
        """SIGTERM; after a while SIGKILL."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join(_STOP_S)
        assert process.stdout is not None
        process.stdout.close()

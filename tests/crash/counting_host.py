"""A static host in a process of its own that counts what it answered: `GET /-/bytes`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from support.mirror_server import MirrorServer, Reply


class CountingHost:
    """A context manager over the host's process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> CountingHost:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "crash.counting_host", str(self._folder)],
            stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        assert self._process.stdout is not None
        self.url = str(json.loads(self._process.stdout.readline())["url"])
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def bytes(self) -> int:
        """Bytes of all answers so far."""
        with urllib.request.urlopen(f"{self.url}/-/bytes", timeout=10) as answer:
            return int(answer.read())


def main() -> None:
    """Serve until killed."""
    total = 0

    def count(path: str, reply: Reply) -> Reply | None:
        nonlocal total
        if path == "-/bytes":
            return Reply(200, {}, str(total).encode())
        total += len(reply.body)
        return None

    with MirrorServer(Path(sys.argv[1]), script=count) as server:
        print(json.dumps({"url": server.url}), flush=True)
        while True:
            time.sleep(60)


if __name__ == "__main__":
    main()

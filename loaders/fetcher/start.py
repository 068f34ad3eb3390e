"""Reach the fetcher of a cache folder, or start it."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from .place import Place

_START_S = 20.0  # a loaded machine may take seconds to import
_GREET_S = 20.0
_RETRY_S = 0.01


def reach(folder: Path, *, start: bool, linger_s: float) -> socket.socket | None:
    """A connection whose waits end soon; None where no fetcher is, or where it cannot be started."""
    place = Place(folder)
    with suppress(OSError):
        return place.connect(_GREET_S)
    if not start:
        return None
    limit = time.monotonic() + _START_S
    while time.monotonic() < limit:
        try:
            begin(folder, limit, linger_s)
            return place.connect(_GREET_S)
        except PermissionError:
            return None
        except (FileNotFoundError, ConnectionError):
            time.sleep(_RETRY_S)  # another one has the lock, and listens in a moment or ends in one
        except OSError:
            return None
    return None


def begin(folder: Path, limit: float, linger_s: float) -> None:
    """Start a fetcher, and wait until it listens or has ended. Raises `OSError` where no process can be started."""
    folder.mkdir(parents=True, exist_ok=True)
    place = Place(folder)
    ready, tell = os.pipe()
    try:
        # the log of the one before is kept until one starts: who wins the lock is not known here, so it is appended to
        # whoever else may write here must not lead us to another file, nor hold us up by a pipe
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(place.log, flags, 0o600), "ab") as log:
            if log.tell() > 1 << 20:
                log.truncate(0)
            process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-P", "-m", "holdfast.loaders.fetcher",
                 str(folder.absolute()), str(tell), str(linger_s)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
                pass_fds=(tell,), start_new_session=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        os.close(tell)
        tell = -1
        threading.Thread(target=process.wait, name="holdfast-reaper", daemon=True).start()
        select.select([ready], [], [], max(limit - time.monotonic(), 0))
    finally:
        os.close(ready)
        if tell >= 0:
            os.close(tell)

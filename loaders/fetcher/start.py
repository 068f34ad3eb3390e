"""Reach the fetcher of a cache folder, or start it."""

from __future__ import annotations

import logging
import os
import select
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from enum import Enum
from pathlib import Path

from .place import Place

LOG = logging.getLogger("holdfast.fetcher")
_START_S = 20.0  # a loaded machine may take seconds to import
_GREET_S = 20.0
_FAILURES = 3  # starts: what failed so often fails again
_PAUSE_S, _MAX_PAUSE_S = 0.01, 1.0  # each start is a process that imports for 0.3 s


class Begun(Enum):
    """What became of a process that was to be the fetcher."""

    LISTENS = b"1"
    HELD = b"0"  # another one has the lock, and listens in a moment or ends in one
    FAILED = b""


def reach(folder: Path, *, start: bool, linger_s: float) -> socket.socket | None:
    """A connection whose waits end soon; None where no fetcher is, or where it cannot be started, which is logged."""
    place = Place(folder)
    with suppress(OSError):
        return place.connect(_GREET_S)
    if not start:
        return None
    limit, pause, failures, why = time.monotonic() + _START_S, _PAUSE_S, 0, "it did not listen in time"
    while time.monotonic() < limit:
        try:
            begun = begin(folder, limit, linger_s)
        except OSError as error:
            why = str(error)
            break
        try:
            return place.connect(_GREET_S)
        except (FileNotFoundError, ConnectionError) as error:
            why = str(error)
        except OSError as error:
            why = str(error)
            break
        failures += begun is Begun.FAILED
        if failures == _FAILURES:
            why = f"it ended {failures} times before it listened, see {place.log}"
            break
        time.sleep(pause)
        pause = min(2 * pause, _MAX_PAUSE_S)
    LOG.warning("no fetcher can be started in %s (%s): this process fetches for itself", folder, why)
    return None


def begin(folder: Path, limit: float, linger_s: float) -> Begun:
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
        poll = select.poll()  # `select` takes no descriptor above 1023
        poll.register(ready, select.POLLIN)
        return Begun(os.read(ready, 1)) if poll.poll(max(limit - time.monotonic(), 0) * 1000) else Begun.FAILED
    finally:
        os.close(ready)
        if tell >= 0:
            os.close(tell)

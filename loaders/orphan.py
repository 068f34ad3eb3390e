"""`end_with_parent`: a worker ends when the process that made it is gone, however that ended.

torch's workers do not always: one that is blocked in the pipe to a trainer that was killed, whose other end its sisters
hold open, stays for ever, and with it leases of the cache and the fetcher. Killed at any moment, ours tear nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import threading
from contextlib import suppress

_NAME = "holdfast-parent"
_GONE = 1  # the exit code of a worker that nobody waits for


def end_with_parent() -> None:
    """Watch the process that started this one, in a thread. Does nothing in a process that nobody started so.

    With `forkserver` the processes of the server are its own children; the trainer is meant all the same.
    """
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None or any(thread.name == _NAME for thread in threading.enumerate()):
        return
    with suppress(OSError):  # a system without descriptors of processes
        try:
            watched = os.pidfd_open(parent.pid)
        except ProcessLookupError:
            os._exit(_GONE)
        threading.Thread(target=_watch, args=(watched,), name=_NAME, daemon=True).start()


def _watch(watched: int) -> None:
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    poll.poll()  # until it ends
    os._exit(_GONE)

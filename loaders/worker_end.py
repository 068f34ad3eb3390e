"""`end_in_time`: a worker ends when the process that made it is gone, and at once on Ctrl-C.

torch's workers do not always: one that is blocked in the pipe to a trainer that was killed, whose other end its sisters
hold open, stays for ever, and with it leases of the cache and the fetcher; and on Ctrl-C the trainer waits 5 s for each
that is blocked so. Killed at any moment, ours tear nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import threading
from contextlib import suppress
from typing import Any

_NAME = "holdfast-parent"
_GONE = 1  # the exit code of a worker that nobody waits for


def end_in_time() -> None:
    """Watch the process that started this one, in a thread. Does nothing in a process that nobody started so.

    With `forkserver` the processes of the server are its own children; the trainer is meant all the same.
    """
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None or any(thread.name == _NAME for thread in threading.enumerate()):
        return
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        signal.signal(signal.SIGINT, _interrupted)
    with suppress(OSError):  # a system without descriptors of processes
        try:
            watched = os.pidfd_open(parent.pid)
        except ProcessLookupError:
            os._exit(_GONE)
        threading.Thread(target=_watch, args=(watched,), name=_NAME, daemon=True).start()


def _interrupted(*_: Any) -> None:
    os._exit(0)  # the trainer has the signal too, and takes any other code for a failure of ours


def _watch(watched: int) -> None:
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    poll.poll()  # until it ends
    os._exit(_GONE)

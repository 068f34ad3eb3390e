"""`each`: one step for many jobs, several at a time, which an interrupt ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

J = TypeVar("J")
MAX_THREADS = 16


def each(
    jobs: Iterable[J], step: Callable[[J], None], stop: threading.Event, threads: int = MAX_THREADS, *,
    outermost: bool = False,
) -> None:  # fmt: skip
    """Do `step` for every job, `threads` of them at a time; returns when all are done, or raises what one raised.

    No job is begun once `stop` is set, or one has raised. `outermost`: an interrupt, or what a job raised, sets `stop`,
    which those under way look at; of several loops in threads of one that is, an error is its own.
    """
    waiting, lock, failed = iter(jobs), threading.Lock(), threading.Event()
    none = object()

    def work() -> None:
        while not (stop.is_set() or failed.is_set()):
            with lock:
                job = next(waiting, none)
            if job is none:
                return
            try:
                step(job)  # type: ignore[arg-type]
            except BaseException:
                failed.set()
                raise

    with ThreadPoolExecutor(threads, thread_name_prefix="holdfast-place") as pool:
        futures = [pool.submit(work) for _ in range(threads)]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future.done():
                    future.result()
            for future in futures:
                future.result()
        except BaseException:
            if outermost:
                stop.set()
            raise

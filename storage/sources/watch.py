"""`Watch`: ends requests that take too long: one thread for all of them; a timer for each is a thread for each."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from ..errors import SlowError
from .transfer import Transfer

_LOOKS = 60  # in the time that a request has: how exact its end is


class Watch:
    """A request has `deadline_s` seconds, and a sixtieth more. Use it as a context; its thread ends with it."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._ends: dict[Transfer, float] = {}
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="holdfast-watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    @property
    def is_running(self) -> bool:
        """Whether its thread is there."""
        return self._thread.is_alive()

    @contextmanager
    def over(self, transfer: Transfer) -> Iterator[None]:
        """Cancel it with `SlowError`, unless it ends in time."""
        with self._lock:
            self._ends[transfer] = time.monotonic() + self._deadline_s
        try:
            yield
        finally:
            with self._lock:
                del self._ends[transfer]

    def _run(self) -> None:
        while not self._over.wait(self._deadline_s / _LOOKS):
            now = time.monotonic()
            with self._lock:
                late = [transfer for transfer, end in self._ends.items() if end < now]
            for transfer in late:
                transfer.cancel(SlowError(f"no answer within {self._deadline_s:g} s"))

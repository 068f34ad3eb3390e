"""`Reads`: a bounded pool of threads between the event loop and the disk: reading hashes, and must not block it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Reads:
    """Runs blocking functions, a few at a time; the rest waits in line."""

    def __init__(self, threads: int = 0) -> None:
        count = threads or min(4 * (os.cpu_count() or 1), 32)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="holdfast-read")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`function(*args, **kwargs)` in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: function(*args, **kwargs))

    def close(self) -> None:
        """Take nothing more; what runs ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

"""Blocks that come by themselves while a command runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from support.chain.anvil import Anvil


@contextmanager
def mining(anvil: Anvil, every_s: float = 0.05) -> Iterator[None]:
    """One after the other, in a thread; a chain's clock is not ours."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(every_s):
            anvil.mine()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()

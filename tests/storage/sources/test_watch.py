"""`Watch`: a request that takes too long ends, and only that."""

from __future__ import annotations

import threading

import pytest

from holdfast.storage.errors import SlowError
from holdfast.storage.sources.transfer import Transfer
from holdfast.storage.sources.watch import Watch


class Noted(Transfer):
    """Says when it is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = threading.Event()

    def cancel(self, reason: object) -> None:
        super().cancel(reason)  # type: ignore[arg-type]
        self.ended.set()


def test_what_takes_too_long_ends() -> None:
    late, done = Noted(), Noted()
    with Watch(0.05) as watch:
        with watch.over(done):
            pass
        with watch.over(late):
            assert late.ended.wait(20)
    with pytest.raises(SlowError, match="no answer within 0.05 s"):
        late.check()
    assert not done.cancelled


def test_its_thread_ends_with_it() -> None:
    with Watch(3600) as watch, watch.over(Noted()):
        assert watch.is_running
    assert not watch.is_running

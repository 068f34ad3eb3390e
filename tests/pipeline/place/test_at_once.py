"""Many jobs, several at a time: all are done, or an error or an interrupt begins no more."""

import threading

import pytest

from holdfast.pipeline.place.at_once import each


@pytest.mark.parametrize("threads", [1, 4, 50])
def test_every_job_is_done_once(threads: int) -> None:
    done: list[int] = []
    each(range(200), done.append, threading.Event(), threads)
    assert sorted(done) == list(range(200))


def test_no_more_than_so_many_at_once() -> None:
    lock, running, most = threading.Lock(), 0, 0
    met = threading.Barrier(3)

    def step(number: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if number < 3:
            met.wait(10)
        with lock:
            running -= 1

    each(range(30), step, threading.Event(), 3)
    assert most == 3


@pytest.mark.parametrize("outermost", [True, False])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_begins_no_more_and_tells_others_only_from_the_outermost(
    outermost: bool, error: type[BaseException]
) -> None:
    stop, begun = threading.Event(), list[int]()

    def step(number: int) -> None:
        begun.append(number)
        if number == 5:
            raise error

    with pytest.raises(error):
        each(range(10_000), step, stop, 2, outermost=outermost)
    assert len(begun) < 10_000
    assert stop.is_set() is outermost


def test_once_it_is_stopped_none_is_begun() -> None:
    stop, begun = threading.Event(), list[int]()

    def step(number: int) -> None:
        begun.append(number)
        stop.set()

    each(range(1000), step, stop, 1)
    assert begun == [0]

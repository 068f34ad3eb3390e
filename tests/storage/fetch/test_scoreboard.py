"""How many requests of one source may be under way, and how long a run may be: from what its answers took."""

from __future__ import annotations

import pytest

from holdfast.storage.fetch.policy import FetchPolicy
from holdfast.storage.fetch.scoreboard import Score

POLICY = FetchPolicy()
MIB = 1 << 20


def after(answers: int, *, first_byte_s: float, rate: float) -> Score:
    """A source that gave so many runs of the length that was asked of it."""
    score = Score("s")
    for _ in range(answers):
        size = score.run_bytes(POLICY)
        score.succeeded(size, first_byte_s, first_byte_s + size / rate, POLICY)
    return score


def test_a_near_source_gets_four_requests_of_a_few_megabytes() -> None:
    score = after(40, first_byte_s=0.002, rate=250e6)
    assert (score.window, score.run_bytes(POLICY)) == (POLICY.max_window, POLICY.run_bytes)


@pytest.mark.parametrize("rate", [50e6, 250e6])
def test_a_far_source_gets_so_much_that_the_line_is_busy_while_an_answer_is_awaited(rate: float) -> None:
    """While one answer is on its way (delay * rate of the whole line), the others must have as much to give."""
    score = after(40, first_byte_s=0.05, rate=rate)
    assert (score.window - 1) * score.run_bytes(POLICY) >= 0.05 * rate * POLICY.max_window
    assert score.run_bytes(POLICY) <= POLICY.max_run_bytes


def test_small_answers_from_far_away_are_asked_for_eight_at_a_time() -> None:
    score = Score("s")
    for _ in range(8):
        score.succeeded(60, 0.05, 0.0501, POLICY)
    assert score.window == POLICY.far_window


def test_a_window_that_was_wide_narrows_when_the_source_is_near_again() -> None:
    score = after(40, first_byte_s=0.2, rate=10e6)
    assert score.window == POLICY.far_window
    for _ in range(10):
        score.succeeded(4 * MIB, 0.001, 0.02, POLICY)
    assert score.window == POLICY.max_window

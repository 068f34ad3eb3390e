"""The planner on a virtual clock: who is asked for what, and how it ends."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.storage.errors import LeafMissingError
from holdfast.storage.fetch.planner import Planner
from holdfast.storage.fetch.policy import FetchPolicy
from holdfast.storage.fetch.scoreboard import Score
from support.swarm import Peer, Swarm

MIB = 1 << 20


def _all_done(swarm: Swarm, count: int) -> None:
    assert not swarm.planner.wants
    assert not swarm.planner.failed
    assert len(swarm.done_at) == count
    assert not swarm.planner.flights or all(flight.next <= flight.last for flight in swarm.planner.flights.values())


def test_equal_sources_share_the_work() -> None:
    swarm = Swarm([Peer("a"), Peer("b"), Peer("c")])
    swarm.want(1, range(120))
    _all_done(swarm.run(), 120)
    assert min(swarm.sent.values()) > 0.6 * max(swarm.sent.values())


def test_several_sources_are_faster_than_one() -> None:
    alone, three = Swarm([Peer("a")]), Swarm([Peer("a"), Peer("b"), Peer("c")])
    for swarm in (alone, three):
        swarm.want(1, range(200))
        swarm.run()
    assert three.now < 0.6 * alone.now, "eight requests at once instead of four"


def test_urgent_leaves_come_first() -> None:
    swarm = Swarm([Peer("a"), Peer("b")])
    swarm.want(1, range(100), urgency=lambda leaf: 100.0 - leaf)
    swarm.run()
    late, soon = swarm.done_at[(1, 0)], swarm.done_at[(1, 99)]
    assert soon < late


def test_neighbours_are_asked_for_in_one_request() -> None:
    swarm = Swarm([Peer("a", rate=50e6)])
    swarm.want(1, range(64))
    swarm.run()
    assert len(swarm.log) <= 40
    assert max(last - first for _, _, _, first, last in swarm.log) >= 3


def test_a_dead_source_is_left_for_the_living_and_tried_again_later() -> None:
    swarm = Swarm([Peer("a", dead=lambda now: now < 3.0, rate=2e6), Peer("b", rate=2e6)])
    swarm.want(1, range(60))
    _all_done(swarm.run(), 60)
    tries = [at for at, name, *_ in swarm.log if name == "a" and at < 3.0]
    assert len(tries) <= 10
    assert swarm.sent["a"] > 0, "it came back and was used again"


def test_all_down_for_a_while_is_survived() -> None:
    swarm = Swarm([Peer("a", dead=lambda now: 1.0 < now < 12.0), Peer("b", dead=lambda now: 1.0 < now < 14.0)])
    swarm.want(1, range(400))
    _all_done(swarm.run(), 400)


def test_all_gone_fails_within_the_deadline_and_says_what_each_did() -> None:
    policy = replace(FetchPolicy(), progress_deadline_s=5.0)
    swarm = Swarm([Peer("a", dead=lambda _: True), Peer("b", dead=lambda _: True)], policy)
    swarm.want(1, range(3))
    swarm.run()
    assert swarm.now <= 6.0
    want = swarm.planner.failed[(1, 0)]
    assert set(want.tried) == {"a", "b"}
    assert "UNREACHABLE" in want.tried["a"]


def test_a_leaf_that_nobody_has_fails_at_once() -> None:
    swarm = Swarm([Peer("a", missing=lambda _: True), Peer("b", missing=lambda _: True)])
    swarm.want(1, range(1))
    swarm.run()
    assert swarm.now < 1.0
    assert (1, 0) in swarm.planner.failed


def test_a_file_that_one_source_lacks_comes_from_the_other() -> None:
    swarm = Swarm([Peer("a", missing=lambda number: number == 1), Peer("b")])
    swarm.want(1, range(20))
    swarm.want(2, range(20))
    _all_done(swarm.run(), 40)
    assert len([1 for _, name, number, *_ in swarm.log if name == "a" and number == 1]) <= 4


def test_a_source_that_lacks_some_leaves_is_asked_for_the_others() -> None:
    swarm = Swarm([Peer("a"), Peer("b")])
    planner, error = swarm.planner, LeafMissingError("two of them lie in a piece that is gone")
    for leaf in range(5):
        planner.want(1, leaf, 1000, float(leaf), 0.0)
    start = planner.next(0.0)
    assert start is not None
    error.count = 2
    planner.arrived(start.flight, 0, 0.1)
    planner.ended(start.flight, error, 0.1)
    assert [planner.lacks.until(start.source, (1, leaf)) > 0.1 for leaf in range(5)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert not planner.failed, "another one may have them"
    planner.forget(1)
    assert planner.lacks.until(start.source, (1, 1)) == 0


def test_what_a_source_sends_beside_what_was_asked_for_does_not_make_it_quick() -> None:
    rates = []
    for received in (100_000, 50_000_000):  # the second one sends all of the file for a leaf of it
        swarm = Swarm([Peer("a")])
        swarm.planner.want(1, 0, 100_000, 0.0, 0.0)
        start = swarm.planner.next(0.0)
        assert start is not None
        swarm.planner.progressed(start.flight, received, 0.5)
        swarm.planner.arrived(start.flight, 0, 1.0)
        swarm.planner.ended(start.flight, None, 1.0, 0.1)
        rates.append(swarm.planner.scores["a"].rate)
    assert rates[0] == rates[1]


def test_a_liar_is_never_asked_again_for_that_leaf_and_is_the_last_resort_for_others() -> None:
    swarm = Swarm([Peer("liar", wrong=lambda _, leaf: leaf % 3 == 1), Peer("honest")])
    swarm.want(1, range(80))
    _all_done(swarm.run(), 80)
    lies = [at for at, name, _, first, last in swarm.log if name == "liar"]
    assert 1 <= len(lies) <= 4, "what was in flight when it was caught, and nothing after"
    assert swarm.planner.scores["liar"].wrong >= 1
    assert swarm.planner.scores["liar"].demoted
    assert max(lies) < 1.0


def test_three_mirrors_with_one_different_rotten_leaf_each_complete_a_run() -> None:
    peers = [Peer(name, wrong=lambda _, leaf, bad=bad: leaf == bad) for name, bad in (("a", 3), ("b", 11), ("c", 19))]
    swarm = Swarm(peers)
    swarm.want(1, range(30))
    _all_done(swarm.run(), 30)


def test_one_rotten_mirror_alone_gives_all_but_the_rotten_leaf() -> None:
    swarm = Swarm([Peer("a", wrong=lambda _, leaf: leaf == 3)])
    swarm.want(1, range(10))
    swarm.run()
    assert set(swarm.planner.failed) == {(1, 3)}
    assert len(swarm.done_at) == 9


def test_a_ban_outlives_the_want() -> None:
    swarm = Swarm([Peer("a", wrong=lambda _, leaf: leaf == 3)])
    swarm.want(1, range(3, 4))
    swarm.run()
    requests = len(swarm.log)
    swarm.want(1, range(3, 4))
    swarm.run(limit_s=swarm.now + 100)
    assert len(swarm.log) == requests
    assert (1, 3) in swarm.planner.failed


def test_a_silent_source_is_hedged_long_before_its_timeout() -> None:
    swarm = Swarm([Peer("mute", silent=lambda _: True), Peer("b")])
    swarm.want(1, range(8))
    swarm.run()
    assert len(swarm.done_at) == 8
    assert max(swarm.done_at.values()) < 3.0


def test_a_dripping_source_is_cut_by_the_minimum_rate() -> None:
    swarm = Swarm([Peer("drip", rate=5.0)], replace(FetchPolicy(), progress_deadline_s=8.0))
    swarm.want(1, range(1))
    swarm.run()
    assert "SLOW" in swarm.planner.scores["drip"].verdicts
    assert (1, 0) in swarm.planner.failed
    assert swarm.now <= 8.0 * swarm.policy.hard_deadline_factor + 10


def test_drippers_that_take_turns_do_not_hold_a_leaf_for_ever() -> None:
    peers = [Peer(f"drip{n}", rate=5.0) for n in range(5)]
    swarm = Swarm(peers, replace(FetchPolicy(), progress_deadline_s=4.0))
    swarm.want(1, range(1))
    swarm.run(limit_s=1000)
    assert swarm.now <= 4.0 * swarm.policy.hard_deadline_factor + 10


def test_the_same_half_of_a_leaf_again_and_again_is_no_progress() -> None:
    """One source that stalls in the middle of every answer: it used to hold a leaf for ten deadlines."""
    swarm = Swarm([Peer("half", stalls_at=1 << 19)], replace(FetchPolicy(), progress_deadline_s=20.0))
    swarm.want(1, range(1))
    swarm.run(limit_s=1000)
    assert (1, 0) in swarm.planner.failed
    assert swarm.now <= 2 * 20.0


def test_a_slow_source_may_take_up_what_a_faster_one_left_half_done() -> None:
    """What the second sends first is nothing new, but it is new from it."""
    slow = Peer("slow", rate=40e3, latency_s=0.5)
    swarm = Swarm([Peer("half", rate=50e6, stalls_at=900_000), slow], replace(FetchPolicy(), progress_deadline_s=15.0))
    swarm.want(1, range(1))
    _all_done(swarm.run(), 1)


def test_bytes_of_a_leaf_that_another_source_brought_are_not_booked_to_the_next_one() -> None:
    planner = Planner([Score("a", None), Score("b", None)], replace(FetchPolicy(), progress_deadline_s=30.0))
    for leaf in range(2):
        planner.want(1, leaf, 1000, float(leaf), 0.0)
    start = planner.next(0.0)
    assert start is not None
    assert (start.first, start.last) == (0, 2)
    planner.progressed(start.flight, 10, 1.0)
    planner._take((1, 0))  # a hedge brought it
    planner.progressed(start.flight, 990, 20.0)  # still of leaf 0
    planner.arrived(start.flight, 0, 21.0)
    for second in range(21, 60):
        planner.progressed(start.flight, 1000 + 10 * (second - 20), float(second))
        planner.tick(float(second))
        assert (1, 1) in planner.wants, "it moves, so it is waited for"


def test_a_slow_source_does_not_hold_up_the_last_leaves() -> None:
    swarm = Swarm([Peer("slow", rate=0.3e6), Peer("fast", rate=20e6)])
    swarm.want(1, range(64))
    _all_done(swarm.run(), 64)
    assert swarm.now < 64 * MIB / 20e6 + 2.5


def test_extra_bytes_stay_within_the_share() -> None:
    swarm = Swarm([Peer("a", rate=3e6), Peer("b", rate=9e6), Peer("c", rate=1e6, latency_s=0.3)])
    swarm.want(1, range(400))
    _all_done(swarm.run(), 400)
    extra = sum(swarm.sent.values()) - 400 * MIB
    assert extra <= 0.05 * 400 * MIB + swarm.policy.hedge_slack_bytes


def test_max_rate_is_kept() -> None:
    swarm = Swarm([Peer("a", rate=100e6, max_rate=2 * MIB)])
    swarm.want(1, range(20), length=MIB)
    _all_done(swarm.run(), 20)
    assert swarm.now >= 9.0


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.2e6, 50e6), st.floats(0.001, 0.5), st.integers(0, 40), st.floats(0, 20)),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_whatever_sources_do_one_honest_one_is_enough(others: list[tuple[float, float, int, float]]) -> None:
    peers = [
        Peer(
            f"p{n}",
            rate,
            latency,
            dead=lambda now, end=end: 0.5 < now < end,
            wrong=lambda _, leaf, bad=bad: leaf == bad,
        )
        for n, (rate, latency, bad, end) in enumerate(others)
    ]
    swarm = Swarm([*peers, Peer("honest", rate=2e6)])
    swarm.want(1, range(40))
    _all_done(swarm.run(limit_s=300), 40)
    assert not swarm.planner.scores["honest"].in_flight < 0
    for score in swarm.planner.scores.values():
        flying = sum(1 for flight in swarm.planner.flights.values() if flight.source == score.name)
        assert score.in_flight == flying


@pytest.mark.parametrize("count", [1, 2, 500])
def test_forgetting_an_object_drops_its_wants(count: int) -> None:
    swarm = Swarm([Peer("a")])
    swarm.want(1, range(count))
    swarm.planner.next(0.0)
    swarm.planner.forget(1)
    assert not swarm.planner.wants
    assert swarm.planner.next(0.0) is None


def test_a_source_that_lied_once_helps_when_the_others_are_down() -> None:
    liar = Peer("liar", wrong=lambda _, leaf: leaf == 0)
    swarm = Swarm([liar, Peer("honest", dead=lambda now: now > 0.3)])
    swarm.want(1, range(4))
    swarm.run(limit_s=0.3)
    swarm.want(1, range(4, 60))
    swarm.run(limit_s=60)
    assert not [key for key in swarm.planner.failed if key[1] != 0]
    assert len(swarm.done_at) >= 59


def test_a_liar_on_every_leaf_is_asked_ever_more_seldom() -> None:
    swarm = Swarm([Peer("liar", wrong=lambda *_: True), Peer("down", dead=lambda _: True)])
    swarm.want(1, range(100))
    swarm.run(limit_s=20)
    assert len([1 for _, name, *_ in swarm.log if name == "liar"]) < 40


@pytest.mark.parametrize("rate", [0.06e6, 0.1e6, 0.3e6, 1e6])
def test_an_honest_source_on_a_slow_line_is_given_its_time(rate: float) -> None:
    swarm = Swarm([Peer("slow", rate=rate, latency_s=0.15)])
    swarm.want(1, range(64))
    _all_done(swarm.run(limit_s=5000), 64)


@pytest.mark.parametrize("mute", [1, 2, 6, 12])
def test_silent_sources_do_not_keep_a_leaf_from_an_honest_one(mute: int) -> None:
    peers = [Peer(f"mute{n}", silent=lambda _: True) for n in range(mute)]
    swarm = Swarm([*peers, Peer("honest")], replace(FetchPolicy(), progress_deadline_s=8.0))
    swarm.want(1, range(4))
    _all_done(swarm.run(), 4)
    assert max(swarm.done_at.values()) < 8.0


def _with_stranger(trusted: Peer, stranger: Peer) -> Swarm:
    swarm = Swarm([trusted, stranger])
    swarm.planner.scores[stranger.name].trusted = False
    return swarm


def test_a_source_that_nobody_named_is_not_asked_however_fast_it_is() -> None:
    swarm = _with_stranger(Peer("mine", rate=1e6), Peer("stranger", rate=100e6))
    swarm.want(1, range(40))
    _all_done(swarm.run(), 40)
    assert swarm.sent.get("stranger", 0) == 0, swarm.sent


def test_a_source_that_nobody_named_takes_over_from_one_that_died() -> None:
    swarm = _with_stranger(Peer("mine", dead=lambda now: now > 0.5), Peer("stranger"))
    swarm.want(1, range(200))
    _all_done(swarm.run(), 200)
    assert swarm.sent["mine"] > 0
    assert swarm.sent["stranger"] > 0


def test_a_source_that_nobody_named_goes_before_one_that_lied() -> None:
    swarm = _with_stranger(Peer("liar"), Peer("stranger"))
    swarm.planner.scores["liar"].demoted = True
    swarm.want(1, range(40))
    _all_done(swarm.run(), 40)
    assert swarm.sent.get("liar", 0) == 0, swarm.sent

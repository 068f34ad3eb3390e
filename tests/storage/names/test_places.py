"""Names kept by our own peers, and asked for over HTTP."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.configs.roster import Provider, Roster
from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import (
    ConfigError,
    HoldfastError,
    OversizeError,
    StaleNameError,
    UnavailableError,
    UnreachableError,
    WithheldError,
)
from holdfast.storage.names.advance import Lifetime, advance, path_of
from holdfast.storage.names.follow import follow
from holdfast.storage.names.http_place import RECORD_TYPE, HttpPlace
from holdfast.storage.names.key import PrivateKey
from holdfast.storage.names.known import KnownNames
from holdfast.storage.names.moment import S
from holdfast.storage.names.places import places_of
from holdfast.storage.names.publish import Pointed, point, renew
from holdfast.storage.names.record import Record, sign_record
from holdfast.storage.names.watch import watch
from holdfast.storage.uri import DatasetUri, NameUri
from support.mirror_server import MirrorServer, Reply
from support.running_node import RunningNode

ROOTS = [CID.of(RAW, bytes([number])) for number in range(4)]
KEY = PrivateKey.generate()
HOUR = Lifetime(3600 * S, 60 * S)


def place(url: str, **more: str) -> HttpPlace:
    return HttpPlace(Provider(name="alice", kind="peer", url=url, **more), env={"TOKEN": "s3cret", "OTHER": "0ther"})


def fresh(number: int, before: Record | None = None) -> Record:
    return advance(KEY, path_of(ROOTS[number]), before, time.time_ns())


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    with RunningNode(tmp_path / "repo") as node:
        yield node


@pytest.fixture
def known(tmp_path: Path) -> KnownNames:
    return KnownNames(tmp_path / "known.sqlite")


def test_a_peer_keeps_the_newest_record_over_a_restart(node: RunningNode, tmp_path: Path) -> None:
    assert place(node.url).get(KEY.name) is None
    first = fresh(0)
    second = fresh(1, first)
    place(node.url).put(KEY.name, second.data)
    place(node.url).put(KEY.name, second.data)  # idempotent
    with pytest.raises(WithheldError, match="a newer record is here"):
        place(node.url).put(KEY.name, first.data)
    assert place(node.url).get(KEY.name) == second.data
    with RunningNode(tmp_path / "other") as other:
        assert place(other.url).get(KEY.name) is None
    node.__exit__()
    node.__enter__()
    assert place(node.url).get(KEY.name) == second.data


def test_the_answer_of_a_peer_says_how_long_it_holds(node: RunningNode) -> None:
    record = sign_record(KEY, f"/ipfs/{ROOTS[0]}", sequence=0, validity_ns=time.time_ns() + 30 * S, ttl_ns=300 * S)
    place(node.url).put(KEY.name, record.data)
    answer = node.get(f"/routing/v1/ipns/{KEY.name.cid}")
    assert (answer.status, answer.body) == (200, record.data)
    assert answer.headers["Content-Type"] == RECORD_TYPE
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    age = int(answer.headers["Cache-Control"].rpartition("=")[2])
    assert 20 <= age <= 30, "not longer than the record counts"
    again = node.get(f"/routing/v1/ipns/{KEY.name}", If_None_Match=answer.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    assert node.ask("OPTIONS", f"/routing/v1/ipns/{KEY.name}").headers["Access-Control-Allow-Methods"] == (
        "GET, PUT, OPTIONS"
    )


def test_a_peer_takes_only_signed_records_that_count(node: RunningNode) -> None:
    good = fresh(0).data
    other = PrivateKey.generate()
    past = sign_record(KEY, f"/ipfs/{ROOTS[0]}", sequence=0, validity_ns=time.time_ns() - S).data
    target = f"/routing/v1/ipns/{KEY.name}"
    typed = {"Content-Type": RECORD_TYPE}
    for body, status in ((good[:-1], 400), (b"", 400), (past, 400), (bytes(1 << 20), 400), (b"\xff" * 99, 400)):
        assert node.ask("PUT", target, typed, body).status == status
    assert node.ask("PUT", f"/routing/v1/ipns/{other.name}", typed, good).status == 400
    assert node.ask("PUT", "/routing/v1/ipns/nobody", typed, good).status == 400
    assert node.ask("PUT", target, {"Content-Type": "text/plain"}, good).status == 406
    assert node.get(target).status == 404
    assert node.get("/routing/v1/ipns/nobody").status == 400
    assert node.ask("PUT", target, typed, good).status == 200


def test_writing_takes_the_token_of_a_peer_and_reading_does_not(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo", token=b"s3cret") as node:
        for headers in ({}, {"token_env": "OTHER"}):
            with pytest.raises(ConfigError) as caught:
                place(node.url, **headers).put(KEY.name, fresh(0).data)
            assert "0ther" not in f"{caught.value.message} {caught.value.hint}"
        place(node.url, token_env="TOKEN").put(KEY.name, fresh(0).data)
        assert place(node.url).get(KEY.name) is not None


def test_a_web_page_cannot_move_names(node: RunningNode) -> None:
    headers = {"Content-Type": RECORD_TYPE, "Origin": "https://evil.example"}
    assert node.ask("PUT", f"/routing/v1/ipns/{KEY.name}", headers, fresh(0).data).status == 401


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        (Reply(404, {}, b""), None),
        (Reply(200, {"Content-Type": "text/plain"}, b"no record"), None),
        (Reply(400, {}, b"unknown path"), None),
        (Reply(501, {}, b""), None),
        (Reply(500, {}, b"routing: not found"), None),
        (Reply(500, {}, b""), UnreachableError),
        (Reply(429, {}, b""), UnreachableError),
        (Reply(302, {"Location": "http://127.0.0.1:9/"}, b""), UnreachableError),
        (Reply(401, {}, b""), ConfigError),
        (Reply(200, {"Content-Type": RECORD_TYPE}, bytes(1 << 20)), OversizeError),
        (Reply(200, {"Content-Type": RECORD_TYPE}, b"anything"), b"anything"),
    ],
)
def test_what_a_place_answers_is_an_answer_or_a_typed_error(tmp_path: Path, reply: Reply, found: object) -> None:
    with MirrorServer(tmp_path, lambda _path, _reply: reply) as server:
        if isinstance(found, type):
            with pytest.raises(found):
                place(server.url).get(KEY.name)
        else:
            assert place(server.url).get(KEY.name) == found


def test_a_plain_gateway_is_asked_by_its_own_interface(tmp_path: Path) -> None:
    record = fresh(2)

    def gateway(path: str, reply: Reply) -> Reply:
        if "routing" not in path and path.endswith(f"ipns/{KEY.name}"):
            return Reply(200, {"Content-Type": RECORD_TYPE}, record.data)
        return Reply(404, {}, b"")

    with MirrorServer(tmp_path, gateway) as server:
        assert place(server.url).get(KEY.name) == record.data


def test_pointing_gives_the_record_to_all_and_says_who_did_not_take_it(
    node: RunningNode, known: KnownNames, tmp_path: Path
) -> None:
    with MirrorServer(tmp_path / "none") as nobody:
        places = places_of([node.url, nobody.url, "http://127.0.0.1:9"], env={})
        found = point(KEY, ROOTS[0], places, known, HOUR, first=True)
    assert [problem == "" for _, problem in found.places] == [True, False, False]
    assert known.get(KEY.name) == found.record
    second = point(KEY, ROOTS[1], places_of([node.url], env={}), known, HOUR)
    assert (second.record.sequence, second.record.parent) == (1, f"/ipfs/{ROOTS[0]}")


def test_a_key_on_two_machines_counts_on_from_what_the_other_signed(node: RunningNode, tmp_path: Path) -> None:
    places = places_of([node.url], env={})
    for number in range(4):
        memory = KnownNames(tmp_path / f"machine{number % 2}.sqlite")
        found = point(KEY, ROOTS[number], places, memory, HOUR)
        assert found.record.sequence == number


def test_what_nobody_took_is_remembered_and_given_away_later(node: RunningNode, known: KnownNames) -> None:
    with pytest.raises(UnavailableError, match="no place took"):
        point(KEY, ROOTS[0], places_of(["http://127.0.0.1:9"], env={}), known, HOUR, first=True)
    again = point(KEY, ROOTS[0], places_of([node.url], env={}), known, HOUR)
    assert (again.record.sequence, again.places[0][1]) == (0, "")
    with pytest.raises(ConfigError, match="nobody to keep"):
        point(KEY, ROOTS[0], [], known, HOUR)


def test_a_key_does_not_begin_anew_while_a_place_cannot_be_asked(node: RunningNode, tmp_path: Path) -> None:
    """A new machine, or a lost memory: sequence 0 would be below what is out there."""
    places = places_of([node.url, "http://127.0.0.1:9"], env={})
    memory = KnownNames(tmp_path / "memory.sqlite")
    with pytest.raises(UnavailableError, match="not all could be asked"):
        point(KEY, ROOTS[0], places, memory, HOUR)
    assert memory.get(KEY.name) is None
    assert place(node.url).get(KEY.name) is None
    assert point(KEY, ROOTS[0], places, memory, HOUR, first=True).record.sequence == 0
    assert point(KEY, ROOTS[1], places, memory, HOUR).record.sequence == 1


def test_two_publishers_on_one_machine_never_sign_one_sequence_twice(node: RunningNode, tmp_path: Path) -> None:
    places = places_of([node.url], env={})
    found: list[Pointed] = []

    def work(number: int) -> None:
        found.append(point(KEY, ROOTS[number], places, KnownNames(tmp_path / "shared.sqlite"), HOUR))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(item.record.sequence for item in found) == [0, 1, 2, 3]


def test_renewing_keeps_whatever_the_name_points_at(node: RunningNode, known: KnownNames) -> None:
    places = places_of([node.url], env={})
    for value in (
        f"/ipfs/{ROOTS[0]}/a/path",
        f"/ipns/{PrivateKey.generate().name}",
        "/ipfs/QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",
    ):
        known.forget(KEY.name)
        key = PrivateKey.generate()
        known.note(sign_record(key, value, sequence=3, validity_ns=time.time_ns() + S))
        found = renew(key, places, known, HOUR)
        assert (found.record.value, found.record.sequence) == (value, 3)


def test_following_a_name_to_its_root_and_below(node: RunningNode, tmp_path: Path) -> None:
    env = {"XDG_DATA_HOME": str(tmp_path)}
    place(node.url).put(KEY.name, fresh(3).data)
    assert follow(NameUri(str(KEY.name), "a/b"), node.url, env=env) == DatasetUri(ROOTS[3], "a/b")
    roster = Roster(providers=(Provider(name="a", kind="peer", url=node.url),))
    assert follow(NameUri(str(KEY.name)), roster, env=env) == DatasetUri(ROOTS[3])
    mirrors = Roster(providers=(Provider(name="a", kind="mirror", url=node.url),))
    with pytest.raises(ConfigError, match="nobody in the roster"):
        follow(NameUri(str(KEY.name)), mirrors, env=env)


def test_a_name_may_point_at_a_name_but_not_in_a_circle(node: RunningNode, tmp_path: Path) -> None:
    env, ends = {"XDG_DATA_HOME": str(tmp_path)}, time.time_ns() + 3600 * S
    outer, circle = PrivateKey.generate(), PrivateKey.generate()
    for key, value in (
        (outer, f"/ipns/{KEY.name}/x"), (KEY, f"/ipfs/{ROOTS[0]}"), (circle, f"/ipns/{circle.name}"),
    ):  # fmt: skip
        place(node.url).put(key.name, sign_record(key, value, sequence=0, validity_ns=ends).data)
    assert follow(NameUri(str(outer.name), "y"), node.url, env=env) == DatasetUri(ROOTS[0], "x/y")
    with pytest.raises(ConfigError, match="more than 4 names"):
        follow(NameUri(str(circle.name)), node.url, env=env)


class Clock:
    """A clock that only sleeping moves, and that ends the watch after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.ns, self.slept = time.time_ns(), list[float]()
        self.end_ns = self.ns + int(seconds * S)

    def sleep(self, seconds: float) -> None:
        assert seconds <= 60, "it looks at the clock every minute"
        self.slept.append(seconds)
        self.ns += int(seconds * S)
        if self.ns > self.end_ns:
            raise KeyboardInterrupt


def watched(
    places: list[str], known: KnownNames, clock: Clock, on_error: Callable[[HoldfastError], None]
) -> list[Pointed]:
    found: list[Pointed] = []
    with pytest.raises(KeyboardInterrupt):
        watch(
            KEY, places_of(places, env={}), known, Lifetime(1000 * S, 10 * S), on_signed=found.append,
            on_error=lambda error, _: on_error(error), clock_ns=lambda: clock.ns, sleep=clock.sleep,
        )  # fmt: skip
    return found


def test_watching_signs_again_at_half_time(node: RunningNode, known: KnownNames) -> None:
    point(KEY, ROOTS[1], places_of([node.url], env={}), known, HOUR)
    found = watched([node.url], known, Clock(1800), lambda error: pytest.fail(error.message))
    assert [item.record.sequence for item in found] == [1] * 4, "which ends sooner than the one before, and counts"
    ends = [item.record.validity_ns for item in found]
    assert [round((later - earlier) / S) for earlier, later in itertools.pairwise(ends)] == [500] * 3
    assert place(node.url).get(KEY.name) == found[-1].record.data


def test_watching_renews_what_was_moved_elsewhere(node: RunningNode, known: KnownNames, tmp_path: Path) -> None:
    places = places_of([node.url], env={})
    point(KEY, ROOTS[1], places, known, HOUR)
    other = KnownNames(tmp_path / "other.sqlite")
    point(KEY, ROOTS[2], places, other, HOUR)
    (found,) = watched([node.url], known, Clock(100), lambda error: pytest.fail(error.message))
    assert found.record.value == f"/ipfs/{ROOTS[2]}"


def test_a_place_that_was_down_is_given_the_record_a_minute_later(node: RunningNode, known: KnownNames) -> None:
    class Late:
        name, tries, record = "late", 0, b""

        def get(self, name: object) -> None:
            return None

        def put(self, name: object, record: bytes) -> None:
            self.tries += 1
            if self.tries < 3:
                raise UnreachableError("down")
            self.record = record

    known.note(fresh(1))
    late, clock, found = Late(), Clock(300), list[Pointed]()
    with pytest.raises(KeyboardInterrupt):
        watch(
            KEY, [*places_of([node.url], env={}), late], known, Lifetime(1000 * S, 10 * S), on_signed=found.append,
            on_error=lambda error, _: pytest.fail(error.message), clock_ns=lambda: clock.ns, sleep=clock.sleep,
        )  # fmt: skip
    assert (found[0].left, late.tries, late.record) == (("late",), 3, found[0].record.data)


def test_watching_goes_on_while_nobody_takes_the_record(known: KnownNames) -> None:
    known.note(fresh(1))
    errors: list[HoldfastError] = []
    assert watched(["http://127.0.0.1:9"], known, Clock(150), errors.append) == []
    assert [type(error) for error in errors] == [UnavailableError] * 3


def test_watching_a_name_without_a_record_ends_at_once(node: RunningNode, known: KnownNames) -> None:
    with pytest.raises(ConfigError, match="no record to sign again"):
        watch(KEY, places_of([node.url], env={}), known, HOUR, on_signed=print, on_error=print)


def test_a_frozen_place_ends_as_a_stale_name_not_as_an_old_version(tmp_path: Path) -> None:
    old = sign_record(KEY, f"/ipfs/{ROOTS[0]}", sequence=4, validity_ns=time.time_ns() - 3600 * S)
    frozen = lambda _path, _reply: Reply(200, {"Content-Type": RECORD_TYPE}, old.data)
    with MirrorServer(tmp_path, frozen) as server, pytest.raises(StaleNameError, match="ended on"):
        follow(NameUri(str(KEY.name)), server.url, env={"XDG_DATA_HOME": str(tmp_path)})

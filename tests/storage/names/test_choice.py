"""Whom to believe: rollback, freeze, wrong clocks, stolen keys (threats T9, T10, T11, T17)."""

import random
from pathlib import Path

import pytest

from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import ConfigError, StaleNameError, UnavailableError, UnreachableError
from holdfast.storage.names.advance import Lifetime, advance, path_of
from holdfast.storage.names.choice import SKEW_NS, Candidate, choose
from holdfast.storage.names.key import PrivateKey
from holdfast.storage.names.known import KnownNames
from holdfast.storage.names.moment import S
from holdfast.storage.names.name import Name
from holdfast.storage.names.record import Record, sign_record
from holdfast.storage.names.resolve import resolve

NOW = 1_790_000_000 * S
DAY = 86_400 * S
KEY = PrivateKey.generate()
ROOTS = [CID.of(RAW, bytes([number])) for number in range(10)]


def version(sequence: int, *, ends: int = NOW + DAY, root: int | None = None, **extra: str) -> Record:
    value = f"/ipfs/{ROOTS[sequence % 10 if root is None else root]}"
    return sign_record(KEY, value, sequence=sequence, validity_ns=ends, extra={f"_{k}": v for k, v in extra.items()})


class Shelf:
    """A place that gives what a test puts there: a record, any bytes, None, or an error."""

    def __init__(self, name: str, content: object) -> None:
        self.name, self.content = name, content

    def get(self, name: Name) -> bytes | None:
        if isinstance(self.content, Exception):
            raise self.content
        if isinstance(self.content, Record):
            return self.content.data
        assert self.content is None or isinstance(self.content, bytes)
        return self.content

    def put(self, name: Name, record: bytes) -> None:
        self.content = record


@pytest.fixture
def known(tmp_path: Path) -> KnownNames:
    return KnownNames(tmp_path / "state/names.sqlite")


def test_the_highest_sequence_wins_then_the_latest_end() -> None:
    records = [version(1), version(3), version(2, ends=NOW + 9 * DAY), version(3, ends=NOW + 2 * DAY)]
    random.Random(1).shuffle(records)
    choice = choose(KEY.name, [Candidate("p", record) for record in records], None, NOW)
    assert (choice.record.sequence, choice.record.validity_ns) == (3, NOW + 2 * DAY)
    assert choice.warnings == ()


@pytest.mark.parametrize(("offered", "followed"), [(4, 5), (5, 5), (6, 6), (0, 5)])
def test_t9_no_place_can_take_a_reader_back(known: KnownNames, offered: int, followed: int) -> None:
    known.note(version(5))
    found = resolve(KEY.name, [Shelf("mallory", version(offered))], known, NOW)
    assert found.record.sequence == followed
    assert any("mallory: an older version" in text for text in found.warnings) == (offered < 5)
    remembered = known.get(KEY.name)
    assert remembered is not None
    assert remembered.sequence == followed, "what is remembered only moves up"


def test_t9_an_old_record_is_refused_even_when_the_newer_one_ended(known: KnownNames) -> None:
    known.note(version(5, ends=NOW - DAY))
    with pytest.raises(StaleNameError, match="older version"):
        resolve(KEY.name, [Shelf("mallory", version(4))], known, NOW)
    assert known.get(KEY.name) == version(5, ends=NOW - DAY)


def test_t9_after_a_stolen_key_ran_ahead_the_memory_can_be_reset(known: KnownNames) -> None:
    known.note(version((1 << 64) - 1))
    honest = Shelf("honest", version(8))
    assert resolve(KEY.name, [honest], known, NOW).record.sequence == (1 << 64) - 1
    known.forget(KEY.name)
    assert resolve(KEY.name, [honest], known, NOW).record.sequence == 8


def test_t9_without_its_memory_a_reader_believes_an_older_record_and_goes_on_from_there(tmp_path: Path) -> None:
    """The weak point that the documentation names: a lost file."""
    path = tmp_path / "names.sqlite"
    KnownNames(path).note(version(5))
    for file in tmp_path.iterdir():
        file.unlink()
    known = KnownNames(path)
    assert resolve(KEY.name, [Shelf("mallory", version(4))], known, NOW).record.sequence == 4
    assert resolve(KEY.name, [Shelf("mallory", version(3))], known, NOW).record.sequence == 4


def test_t10_a_frozen_name_is_an_error_once_its_record_ended(known: KnownNames) -> None:
    places = [Shelf("frozen", version(5))]
    assert resolve(KEY.name, places, known, NOW).record.sequence == 5
    assert resolve(KEY.name, places, known, NOW + DAY + SKEW_NS).record.sequence == 5
    with pytest.raises(StaleNameError, match="ended on"):
        resolve(KEY.name, places, known, NOW + DAY + SKEW_NS + 1)
    places.append(Shelf("honest", version(6, ends=NOW + 9 * DAY)))
    assert resolve(KEY.name, places, known, NOW + 2 * DAY).record.sequence == 6


def test_t11_only_the_key_of_the_name_counts(known: KnownNames) -> None:
    thief = PrivateKey.generate()
    stolen = advance(thief, path_of(ROOTS[0]), None, NOW)
    with pytest.raises(UnavailableError, match="not signed by the key"):
        resolve(KEY.name, [Shelf("mallory", stolen)], known, NOW)
    assert known.get(KEY.name) is None


def test_t17_clocks_may_differ_by_five_minutes_and_no_more(known: KnownNames) -> None:
    for behind in (0, SKEW_NS):
        record = advance(KEY, path_of(ROOTS[1]), None, NOW + behind)
        assert choose(KEY.name, [Candidate("p", record)], None, NOW).record == record
    future = advance(KEY, path_of(ROOTS[1]), None, NOW + SKEW_NS + 1)
    with pytest.raises(StaleNameError, match="signed in the future"):
        resolve(KEY.name, [Shelf("p", future)], known, NOW)
    assert known.get(KEY.name) is None, "a wrong clock must not poison the memory"
    for day in (-1, 1):  # this machine's clock is a day off: what counts with the right one counts again
        places = [Shelf("p", advance(KEY, path_of(ROOTS[2]), None, NOW))]
        if day < 0:
            with pytest.raises(StaleNameError):
                resolve(KEY.name, places, known, NOW + day * DAY)
        else:
            resolve(KEY.name, places, known, NOW + day * DAY)
        assert resolve(KEY.name, places, known, NOW).record.value == f"/ipfs/{ROOTS[2]}"


def test_a_key_that_signs_one_sequence_twice_is_told(known: KnownNames) -> None:
    one, two = version(5, root=1), version(5, root=2)
    found = resolve(KEY.name, [Shelf("a", one), Shelf("b", two)], known, NOW)
    assert "signed sequence 5 twice" in found.warnings[0]
    again = resolve(KEY.name, [Shelf("b", two), Shelf("a", one)], KnownNames(known._path.parent / "other"), NOW)
    assert again.record == found.record, "the same for everyone, whoever answers first"


def test_one_honest_place_is_enough(known: KnownNames) -> None:
    places = [
        Shelf("down", UnreachableError("cannot be reached")), Shelf("empty", None), Shelf("liar", b"\xff" * 300),
        Shelf("old", version(2)), Shelf("honest", version(6)), Shelf("long", bytes(1 << 20)),
    ]  # fmt: skip
    found = resolve(KEY.name, places, known, NOW)
    assert found.record == version(6)
    assert found.places == ("honest",)
    assert [text.partition(":")[0] for text in found.warnings] == ["empty", "down", "liar", "long"]


def test_nobody_knows_and_nobody_to_ask(known: KnownNames) -> None:
    with pytest.raises(UnavailableError, match="no place knows"):
        resolve(KEY.name, [Shelf("empty", None)], known, NOW)
    with pytest.raises(ConfigError, match="nobody to ask"):
        resolve(KEY.name, [], known, NOW)


def test_what_was_seen_is_followed_while_nobody_answers(known: KnownNames) -> None:
    known.note(version(5))
    found = resolve(KEY.name, [Shelf("down", UnreachableError("cannot be reached"))], known, NOW)
    assert (found.record, found.places) == (version(5), ())
    assert found.warnings == ("down: cannot be reached",)


def test_each_version_names_the_one_before() -> None:
    first = advance(KEY, path_of(ROOTS[0]), None, NOW)
    second = advance(KEY, path_of(ROOTS[1]), first, NOW + S)
    resigned = advance(KEY, path_of(ROOTS[1]), second, NOW + DAY)
    assert [record.sequence for record in (first, second, resigned)] == [0, 1, 1]
    assert (first.parent, second.parent, resigned.parent) == (None, f"/ipfs/{ROOTS[0]}", f"/ipfs/{ROOTS[0]}")
    assert resigned.validity_ns == second.validity_ns + DAY - S
    choice = choose(KEY.name, [Candidate("p", second), Candidate("p", resigned)], None, NOW + DAY)
    assert choice.record == resigned


def test_a_ttl_longer_than_the_lifetime_is_refused() -> None:
    for lifetime, ttl in ((S, 2 * S), (S, 0), (0, 0), (-S, -S)):
        with pytest.raises(ConfigError):
            Lifetime(lifetime, ttl)


def test_the_memory_survives_rot_and_two_processes(known: KnownNames) -> None:
    known.note(version(5))
    other = KnownNames(known._path)
    other.note(version(6))
    known.note(version(4))
    assert known.get(KEY.name) == version(6)
    import sqlite3

    for table, found in (("known", version(6)), ("versions", None)):
        with sqlite3.connect(known._path) as connection:
            connection.execute(f"UPDATE {table} SET record = x'00ff'")
        connection.close()
        assert known.get(KEY.name) == found, "of a damaged row the versions say what it was"
    known.note(version(3))
    assert known.get(KEY.name) == version(3)

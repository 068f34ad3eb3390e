"""The survey of rows: what is noted of it is small, counts only for the same files, and spares reading them again."""

from __future__ import annotations

import gzip
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.pipeline.detect import SourceFile, detect
from holdfast.pipeline.pack import survey as survey_module
from holdfast.pipeline.pack.columns import Columns
from holdfast.pipeline.pack.csv import CsvRows
from holdfast.pipeline.pack.jsonl import JsonlRows
from holdfast.pipeline.pack.rows import RowSource
from holdfast.pipeline.pack.survey import SurveyLog, survey
from holdfast.pipeline.pack.text import TextRows
from holdfast.pipeline.pack.types import ColumnType
from holdfast.pipeline.publish import publish
from holdfast.pipeline.scan import scan
from holdfast.pipeline.skipped import Skipped
from holdfast.storage.blocks.collect import collect
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.journal import Journal
from support.ageing import age
from support.programs import Program

SHARD = 12 << 10
KINDS: dict[str, Any] = {"jsonl": JsonlRows, "csv": CsvRows, "text": TextRows}
VALUES: list[Any] = [
    None, True, 1, 1 << 60, 1.5, "text", [], [1], [[1.5], None], {}, {"a": 1}, {"a": {"b": [{"c": 1}]}}, 1 << 70,
    {str(n): n for n in range(1100)}, {"ä\u2028": "x"},
]  # fmt: skip

# dies when the survey has been noted so many times
KILLED = """
import os, signal, sys
from holdfast.pipeline.pack import survey
from holdfast.pipeline.publish import publish
survey._BATCH_S = -1.0  # noted behind every file
real, count = survey.SurveyLog.note_in_time, 0
def die(*given):
    global count
    real(*given)
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
survey.SurveyLog.note_in_time = die
publish(sys.argv[1], name="d", repo=sys.argv[2])
"""


def corpus(folder: Path, kind: str, count: int = 6) -> Path:
    folder.mkdir()
    for number in range(count):
        if kind == "jsonl":
            rows = [{"id": n, f"only{number}": [n, {"x": 1.5}], "mixed": n if number % 2 else "t"} for n in range(500)]
            text = "".join(json.dumps(row) + "\n" for row in rows) + "no json\n"
            (folder / f"s{number}.jsonl.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
        elif kind == "csv":
            rows = [f"{n},{n / 2 if number == 4 else n},{number}" for n in range(500)]
            (folder / f"s{number}.csv").write_text("id,value,none\n" + "\n".join(rows) + "\nbad\n")
        else:
            (folder / f"s{number}.py").write_bytes(f"text {number}".encode() * 500 if number % 3 else b"\xff\xfe")
    time.sleep(0.03)  # older than a tick: a change would show in their stamps
    return folder


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with DiskStore(tmp_path / "journal").open() as store:
        yield Journal(store.catalog)


@pytest.fixture(autouse=True)
def always_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_module, "_BATCH_S", -1.0)


class Run:
    """One survey: what it learned, and the files that it read. `stop`: killed before this file."""

    def __init__(
        self, folder: Path, kind: str, journal: Journal | None, stop: int = -1, shape: str = "", shard_size: int = SHARD
    ) -> None:
        files = detect(scan(folder, Skipped()), "auto").files
        self.rows: RowSource = KINDS[kind](folder, files, shard_size)
        self.files = len(files)
        self.read: list[str] = []
        self.skipped, self.bytes = Skipped(), 0
        self.skipped.add("before", "of another stage")
        real = self.rows.see

        def see(number: int, file: SourceFile, skipped: Skipped) -> None:
            if len(self.read) == stop:
                raise KeyboardInterrupt
            self.read.append(file.name)
            real(number, file, skipped)

        self.rows.see = see  # type: ignore[method-assign]
        self.log = SurveyLog(journal, folder, shape or kind, shard_size)
        try:
            survey(self.rows, files, self.skipped, self._count, self.log)
        except KeyboardInterrupt:
            assert stop >= 0

    def _count(self, count: int) -> None:
        self.bytes += count

    @property
    def learned(self) -> tuple[object, ...]:
        spans = self.rows.size.spans(self.files)
        assert len(spans) > 1
        tables = [(span, table.to_pylist(), size) for span, table, size in self.rows.tables(spans, 300)]
        return self.rows.schema, self.rows.size.state(), self.skipped.named(), self.skipped.count, self.bytes, tables


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_one_that_was_cut_goes_on_and_ends_as_if_it_had_not_been(
    tmp_path: Path, journal: Journal, kind: str, stop: int
) -> None:
    folder = corpus(tmp_path / "src", kind)
    whole = Run(folder, kind, None)
    first = Run(folder, kind, journal, stop)
    second = Run(folder, kind, journal)
    assert first.read + second.read == whole.read
    assert second.learned == whole.learned
    third = Run(folder, kind, journal)
    assert (third.read, third.learned) == ([], whole.learned)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_noted_of_other_files_does_not_count(tmp_path: Path, journal: Journal, kind: str) -> None:
    folder = corpus(tmp_path / "src", kind)
    Run(folder, kind, journal)
    third = sorted(folder.iterdir())[2]
    about = third.stat()
    third.write_bytes(third.read_bytes())
    os.utime(third, ns=(about.st_atime_ns, about.st_mtime_ns))  # the change time tells
    time.sleep(0.03)
    assert len(Run(folder, kind, journal).read) == 6
    assert Run(folder, kind, journal).read == []
    assert len(Run(folder, kind, journal, shape="other").read) == 6
    Run(folder, kind, journal)
    third.unlink()
    assert len(Run(folder, kind, journal).read) == 5
    folder.rename(tmp_path / "elsewhere")
    assert len(Run(tmp_path / "elsewhere", kind, journal).read) == 5


def test_files_that_come_behind_the_known_ones_are_read_alone(tmp_path: Path, journal: Journal) -> None:
    folder = corpus(tmp_path / "src", "jsonl")
    Run(folder, "jsonl", journal)
    (folder / "t.jsonl").write_text('{"new": 1}\n')
    time.sleep(0.03)
    again = Run(folder, "jsonl", journal)
    assert again.read == ["t.jsonl"]
    assert again.learned == Run(folder, "jsonl", None).learned


def test_nothing_is_noted_behind_a_file_of_this_moment(tmp_path: Path, journal: Journal) -> None:
    folder = corpus(tmp_path / "src", "csv")
    future = time.time_ns() + 10**12
    os.utime(folder / "s2.csv", ns=(future, future))
    Run(folder, "csv", journal)
    assert Run(folder, "csv", journal).read == [f"s{n}.csv" for n in range(2, 6)]


@pytest.mark.parametrize("text", ["", "[]", "{}", "[1, 2, 3, 4, 5, 6]", '["", 0, [], [], 0, {}]', "[" * 9999])
def test_an_entry_that_makes_no_sense_is_ignored(tmp_path: Path, journal: Journal, text: str) -> None:
    folder = corpus(tmp_path / "src", "jsonl")
    first = Run(folder, "jsonl", journal)
    journal.write(first.log._key, text)
    again = Run(folder, "jsonl", journal)
    assert (again.read, again.learned) == (first.read, first.learned)


@pytest.mark.parametrize("part", range(6))
def test_an_entry_with_one_wrong_part_is_ignored(tmp_path: Path, journal: Journal, part: int) -> None:
    folder = corpus(tmp_path / "src", "jsonl")
    first = Run(folder, "jsonl", journal)
    entry = json.loads(journal.read(first.log._key) or "")
    entry[part] = {"id": ["odd", None]} if part == 5 else [[]]
    journal.write(first.log._key, json.dumps(entry))
    again = Run(folder, "jsonl", journal)
    assert (again.read, again.learned) == (first.read, first.learned)


def test_an_entry_is_small_and_a_large_one_is_not_made(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = corpus(tmp_path / "src", "jsonl")
    run = Run(folder, "jsonl", journal, shard_size=64 << 20)
    assert len(journal.read(run.log._key) or "") < 2000
    run.log.drop()
    monkeypatch.setattr(survey_module, "_MAX_STATE", 500)
    Run(folder, "jsonl", journal)
    assert journal.read(run.log._key) is None or len(journal.read(run.log._key) or "") <= 500


def test_a_state_that_grew_too_long_is_put_together_once_and_what_was_noted_before_still_counts(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = corpus(tmp_path / "src", "jsonl")
    Run(folder, "jsonl", journal, stop=2)
    ((key, state),) = journal._catalog.rows("SELECT key, state FROM journal")
    monkeypatch.setattr(survey_module, "_MAX_STATE", len(str(state)) - 64 + 10)  # beside its digest; a third is more
    asked = 0
    real = JsonlRows.state

    def state_of(rows: JsonlRows) -> object:
        nonlocal asked
        asked += 1
        return real(rows)

    monkeypatch.setattr(JsonlRows, "state", state_of)
    assert len(Run(folder, "jsonl", journal).read) == 4
    assert asked == 1
    assert journal._catalog.rows("SELECT key, state FROM journal") == [(key, state)]
    assert len(Run(folder, "jsonl", journal).read) == 4
    assert asked == 2


def test_the_state_of_a_column_is_all_that_it_saw() -> None:
    for first in VALUES:
        for second in VALUES:
            columns = Columns(ColumnType)
            columns.see({"x": first, "y": second})
            columns.see({"x": second})
            again = Columns(ColumnType)
            again.go_on(json.loads(json.dumps(columns.state())))
            assert again.schema == columns.schema
            for third in VALUES:
                for each in (again, columns):
                    each.see({"x": third, "z": third})
                assert again.schema == columns.schema
                assert [c.fit(third) for _, c in again] == [c.fit(third) for _, c in columns]
    for odd in (["odd", None], ["list", None], ["int", 1], ["record", 5], [], "int", None, [["int"], None]):
        with pytest.raises((ValueError, TypeError)):
            ColumnType.parse(odd)


@pytest.mark.parametrize("kind", KINDS)
def test_a_publish_that_was_killed_in_its_survey_goes_on_and_leaves_no_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = corpus(tmp_path / "src", kind)
    whole = publish(folder, name="d", repo=tmp_path / "whole")
    assert Program(KILLED, folder, tmp_path / "repo", 4).wait() == -signal.SIGKILL
    read: list[str] = []
    real = KINDS[kind].see
    monkeypatch.setattr(
        KINDS[kind],
        "see",
        lambda self, number, file, found: read.append(file.name) or real(self, number, file, found),
    )
    with DiskStore(tmp_path / "repo").open() as store:
        assert len(store.catalog.rows("SELECT * FROM journal")) == 1
    again = publish(folder, name="d", repo=tmp_path / "repo")
    assert (again.root, again.skipped, again.skipped_count) == (whole.root, whole.skipped, whole.skipped_count)
    assert len(read) == 2
    with DiskStore(tmp_path / "repo").open() as store:
        assert store.catalog.rows("SELECT * FROM journal") == []


def test_a_gc_drops_the_entry_of_a_publish_that_nobody_goes_on_with(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "src", "csv")
    assert Program(KILLED, folder, tmp_path / "repo", 4).wait() == -signal.SIGKILL
    with DiskStore(tmp_path / "repo").open() as store:
        age(store)
        collect(store)
        assert store.catalog.rows("SELECT * FROM journal") == []

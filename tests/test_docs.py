"""The documents say what is so: tests that they name exist, settings and metrics are those of the code."""

from __future__ import annotations

import ast
import asyncio
import re
import tomllib
from pathlib import Path

import pytest
from prometheus_client.core import Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from holdfast.configs.settings import Settings
from holdfast.storage.node.crowd import Crowd, CrowdLimits
from holdfast.storage.node.metrics import RepositoryState, _PeerCollector
from holdfast.storage.node.tally import Tally

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
OPERATIONS = ROOT / "docs" / "operations.md"
GUARANTEES = ROOT / "docs" / "guarantees.md"


def _tests_in(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_is_named_exists(document: Path) -> None:
    named = _TEST.findall(document.read_text())
    missing = [
        f"{path}::{name}" for path, name in named if not (ROOT / path).is_file() or name not in _tests_in(ROOT / path)
    ]
    assert missing == []


def test_every_threat_has_a_row_and_a_test_or_the_words_that_there_is_none() -> None:
    rows = [line for line in GUARANTEES.read_text().splitlines() if re.match(r"\| T\d+ ", line)]
    assert [int(row.split("|")[1].strip()[1:]) for row in rows] == list(range(1, 25))
    for row in rows:
        assert _TEST.search(row) or "not there yet" in row, row


def _section(title: str) -> str:
    (found,) = re.findall(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", OPERATIONS.read_text(), re.MULTILINE | re.DOTALL
    )
    return str(found)


def test_every_setting_is_explained_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)\.(\w+)` \| `(.+?)` \|", _section("Settings"), re.MULTILINE)
    written: dict[str, dict[str, object]] = {}
    for table, key, value in rows:
        written.setdefault(table, {})[key] = tomllib.loads(f"x = {value}")["x"]
    known = Settings.defaults()
    assert {t: set(keys) for t, keys in written.items()} == {
        name: set(type(getattr(known, name)).model_fields) for name in type(known).model_fields
    }
    text = "".join(
        f"[{table}]\n" + "".join(f"{key} = {value}\n" for t, key, value in rows if t == table) for table in written
    )
    assert Settings.parse(text, "docs/operations.md") == known


def _families() -> list[Metric]:
    async def collect() -> list[Metric]:
        tally = Tally()
        tally.requests[("raw", "200")] += 1
        collector = _PeerCollector(Crowd(CrowdLimits(), tally))
        collector.repository = RepositoryState({}, 0)
        return list(collector.collect())

    return asyncio.run(collect())


def test_every_metric_is_explained_with_its_type() -> None:
    written = dict(re.findall(r"^\| `(holdfast_\w+)(?:\{[^}]*\})?` \| (\w+) \|", _section("Metrics"), re.MULTILINE))
    kinds = {CounterMetricFamily: ("_total", "counter"), GaugeMetricFamily: ("", "gauge")}
    assert written == {family.name + kinds[type(family)][0]: kinds[type(family)][1] for family in _families()}
    everywhere = set(re.findall(r"holdfast_[a-z_]+", OPERATIONS.read_text()))
    assert everywhere == set(written)


def test_every_reason_of_a_refusal_is_explained() -> None:
    code = "".join(path.read_text() for path in (ROOT / "storage" / "node").glob("*.py"))
    reasons = set(re.findall(r'tally\.refused\["(\w+)"', code)) | {"slow_request", "idle"}
    explained = set(re.findall(r"^\* `(\w+)`: ", _section("Metrics"), re.MULTILINE))
    assert explained == reasons


def test_every_message_is_one_of_ours() -> None:
    rooms = ("configs", "storage", "pipeline", "loaders", "holdfast")
    code = "".join(path.read_text() for room in rooms for path in sorted((ROOT / room).rglob("*.py")))
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # texts that are written in several lines
    cells = re.findall(r"^\| (`.*?) \|", _section("Messages, and what to do"), re.MULTILINE)
    assert len(cells) > 12
    pieces = [piece.strip() for cell in cells for text in re.findall(r"`(.+?)`", cell) for piece in text.split("…")]
    assert [piece for piece in pieces if len(piece) > 5 and piece not in code] == []

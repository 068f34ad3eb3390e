"""Real daemons, built by `make daemons` where there is Go; without them these tests are skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.conftest import command

from support.kubo import DAEMONS, Kubo

__all__ = ["command"]  # a fixture of theirs, for tests in here
PROGRAMS = ("ipfs", "ipfs-cluster-service")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One reason for all; a gate that requires the daemons (HOLDFAST_DAEMONS=required) lets nothing be skipped."""
    missing = [name for name in PROGRAMS if not (DAEMONS / name).is_file()]
    if not missing or os.environ.get("HOLDFAST_DAEMONS") == "required":
        return
    reason = pytest.mark.skip(reason=f"no {', '.join(missing)}: `make daemons` builds them (Go 1.26)")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(reason)


@pytest.fixture(scope="session")
def kubo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubo]:
    """One that knows nobody."""
    with Kubo(tmp_path_factory.mktemp("kubo") / "repo") as kubo:
        yield kubo

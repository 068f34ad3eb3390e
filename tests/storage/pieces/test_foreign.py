"""PieceCIDs as another implementation computes them: data-segment, in JavaScript. Skipped without it (`make npm`)."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.storage.pieces.hasher import PieceHasher
from holdfast.storage.pieces.piece_cid import PieceCID, height_for
from holdfast.storage.pieces.pure import subtree

ROOT = Path(__file__).parents[3]
MODULES = ROOT / "build/npm"

pytestmark = pytest.mark.skipif(
    not (MODULES / ".installed").is_file() or shutil.which("node") is None, reason="no JavaScript: `make npm` (Node 20)"
)


@pytest.fixture(scope="module")
def foreign() -> Iterator[Callable[[bytes], list[str]]]:
    """Both versions of the PieceCID of a payload."""
    script = (ROOT / "tests/npm/commp.mjs").read_text()  # not run by its name: modules are looked for where it lies
    command = ["node", "--input-type=module", "-e", script]
    with subprocess.Popen(command, cwd=MODULES, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout

        def ask(payload: bytes) -> list[str]:
            assert process.stdin
            assert process.stdout
            process.stdin.write(struct.pack("<I", len(payload)) + payload)
            process.stdin.flush()
            return process.stdout.readline().decode().split()

        yield ask
        process.stdin.close()


def _same(payload: bytes, foreign: Callable[[bytes], list[str]]) -> None:
    with PieceHasher(threads=1) as hasher:
        hasher.update(payload)
        compiled = hasher.finish().cid
    assert [str(compiled.v2), str(compiled.v1)] == foreign(payload)
    height = height_for(len(payload))
    assert compiled == PieceCID.of(subtree(payload, height), len(payload)), "and so does the one in Python"


@settings(max_examples=50)
@given(size=st.one_of(st.integers(65, 2000), st.integers(65, 60_000)), seed=st.integers(0))  # it takes no less than 65
def test_random_payloads(size: int, seed: int, foreign: Callable[[bytes], list[str]]) -> None:
    _same(random.Random(seed).randbytes(size), foreign)


def test_more_than_a_subtree(foreign: Callable[[bytes], list[str]]) -> None:
    _same(random.Random(3).randbytes(1_300_000), foreign)

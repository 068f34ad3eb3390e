"""What rot, an accident or an intruder makes of the files of a cache, in place."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from .trees import LEAF

Tampering = Callable[[Sequence[Path]], None]


def rewrite(path: Path, change: Callable[[bytearray], object]) -> None:
    """Change a file in place; again until the clock of the file system has moved on."""
    before, data = path.stat().st_mtime_ns, bytearray(path.read_bytes())
    change(data)
    with path.open("r+b") as file:
        while True:
            os.pwrite(file.fileno(), data, 0)
            os.ftruncate(file.fileno(), len(data))
            if path.stat().st_mtime_ns != before:
                return


def _flip(data: bytearray) -> None:
    for at in range(0, len(data), LEAF):
        data[min(at + 11, len(data) - 1)] ^= 1


def _flip_one(files: Sequence[Path]) -> None:
    rewrite(_largest(files)[0], lambda data: data.__setitem__(5, data[5] ^ 4))


def _largest(files: Sequence[Path]) -> list[Path]:
    return sorted(files, key=lambda path: -path.stat().st_size)[:2]


def _swap(files: Sequence[Path]) -> None:
    one, two = _largest(files)
    first, second = one.read_bytes(), two.read_bytes()
    rewrite(one, lambda data: data.__setitem__(slice(None), second))
    rewrite(two, lambda data: data.__setitem__(slice(None), first))


def _rename_swap(files: Sequence[Path]) -> None:
    one, two = _largest(files)
    spare = one.with_name("spare")
    one.rename(spare)
    two.rename(one)
    spare.rename(two)


def _each(change: Callable[[Path], object]) -> Tampering:
    def tamper(files: Sequence[Path]) -> None:
        for path in files:
            change(path)

    return tamper


def _flip_and_bless(path: Path) -> None:
    """The attacker also sets every mark to "verified"; the seal stays that of the file as it was.

    Whoever can write the seal too (it is no signature) deceives a run without `reverify`: the README says so.
    """
    rewrite(path, _flip)
    marks = Path(f"{path}.marks")
    data = bytearray(marks.read_bytes())
    data[72:] = b"\1" * (len(data) - 72)
    marks.write_bytes(data)


# What becomes of the files of a cache; each has its marks beside it.
TAMPERINGS: dict[str, Tampering] = {
    "one bit of one file": _flip_one,
    "a bit in every leaf": _each(lambda path: rewrite(path, _flip)),
    "zeros": _each(lambda path: rewrite(path, lambda data: data.__setitem__(slice(None), bytes(len(data))))),
    "two shards swapped": _swap,
    "two shards renamed": _rename_swap,
    "cut short": _each(lambda path: os.truncate(path, path.stat().st_size // 2)),
    "cut to nothing": _each(lambda path: os.truncate(path, 0)),
    "longer": _each(lambda path: os.truncate(path, path.stat().st_size + 7)),
    "removed": _each(lambda path: path.unlink()),
    "a bit, and marks that vouch for it": _each(_flip_and_bless),
    "a bit, and no marks": _each(lambda path: (rewrite(path, _flip), Path(f"{path}.marks").unlink())),
    "a bit, and noise for marks": _each(
        lambda path: (
            rewrite(path, _flip),
            Path(f"{path}.marks").write_bytes(random.Random(1).randbytes(Path(f"{path}.marks").stat().st_size)),
        )
    ),
    "a bit, and half the marks": _each(
        lambda path: (rewrite(path, _flip), os.truncate(f"{path}.marks", Path(f"{path}.marks").stat().st_size // 2))
    ),
}
HARMLESS = {"longer"}  # no leaf is lost

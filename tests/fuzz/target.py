"""`Target`: a parser of foreign bytes as a function of bytes, with its seeds; `target` registers one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.storage.errors import HoldfastError


@dataclass(frozen=True)
class Target:
    """`factor`: bytes of memory for each byte of input, above a constant."""

    name: str
    run: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    errors: tuple[type[Exception], ...] = (HoldfastError,)
    factor: int = 600


TARGETS: dict[str, Target] = {}


def target(
    seeds: Callable[[], list[bytes]], errors: tuple[type[Exception], ...] = (HoldfastError,), factor: int = 600
) -> Callable[[Callable[[bytes], object]], Callable[[bytes], object]]:
    """Register a function under its name."""

    def add(run: Callable[[bytes], object]) -> Callable[[bytes], object]:
        TARGETS[run.__name__] = Target(run.__name__, run, seeds, errors, factor)
        return run

    return add


def found_inputs() -> Iterator[tuple[str, bytes]]:
    """Inputs that once broke a target: `found/<target>-<number>.hex`."""
    for path in sorted((Path(__file__).parent / "found").glob("*.hex")):
        yield path.stem.rpartition("-")[0], bytes.fromhex(path.read_text())

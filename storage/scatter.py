"""Memory in pieces, which are filled one after the other."""

from __future__ import annotations

from collections.abc import Sequence


def spread(data: memoryview, outs: Sequence[memoryview]) -> None:
    """Copy `data` into `outs`, which are as long together."""
    at = 0
    for out in outs:
        out[:] = data[at : at + len(out)]
        at += len(out)


def behind(outs: Sequence[memoryview], count: int) -> list[memoryview]:
    """What is left to fill when `count` bytes are; none of it empty."""
    left = []
    for out in outs:
        if len(out) > count:
            left.append(out[count:])
        count -= min(count, len(out))
    return left

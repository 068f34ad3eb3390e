"""The compiled kernel where the package was built with a compiler, else the same in Python, a tenth as fast."""

from __future__ import annotations

from collections.abc import Callable

from . import pure

Buffer = bytes | bytearray | memoryview


def _chosen() -> tuple[str, Callable[[Buffer], bytes], Callable[[Buffer, int], bytes]]:
    try:
        from . import _commp
    except ImportError:
        return "python", pure.pairs, pure.subtree
    return _commp.kinds()[0], _commp.pairs, _commp.subtree


KIND, pairs, subtree = _chosen()
"""What it is (`avx512`, …, `python`); see `pure.pairs` and `pure.subtree`."""

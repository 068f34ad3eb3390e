"""Draw what to ask for, and say what the answers mean. Pure: anybody can recompute both.

Challenge `i` of an audit is the leaf that holds byte `sha256(seed ‖ root ‖ i) mod total` of all files in the order of
the tree (seed as given, root as binary CID, i as 8 bytes big-endian): the root and a public seed fix it, and nobody
can choose kindly. Draws are with replacement.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ...storage.cid import CID

CONFIDENCE = 0.99


@dataclass(frozen=True, slots=True)
class Challenge:
    """One draw: which file (its place in the list), and which byte of it."""

    number: int
    file: int
    offset: int


def draw(seed: bytes, root: CID, sizes: Sequence[int], samples: int) -> Iterator[Challenge]:
    """`samples` challenges over files of these sizes in bytes. Raises `ValueError` when there is not one byte."""
    ends = list(accumulate(sizes))
    total = ends[-1] if ends else 0
    if total < 1 or samples < 1:
        raise ValueError(f"{samples} samples of {total} bytes")
    return (_challenge(seed, root, ends, number) for number in range(samples))


def _challenge(seed: bytes, root: CID, ends: Sequence[int], number: int) -> Challenge:
    digest = hashlib.sha256(seed + bytes(root) + number.to_bytes(8, "big")).digest()
    at = int.from_bytes(digest, "big") % ends[-1]  # of 256 bits: the bias is below 2^-190
    file = bisect_right(ends, at)
    return Challenge(number, file, at - (ends[file - 1] if file else 0))


def loss_at_most(samples: int, failed: int, confidence: float = CONFIDENCE) -> float:
    """The part of all bytes that may be lost, at this confidence, when `failed` of `samples` draws were not there.

    The upper end of the one-sided Clopper–Pearson interval (Biometrika 26, 1934): with no failure, 1 - (1-c)^(1/n).
    """
    if failed >= samples:
        return 1.0
    if failed == 0:
        return 1.0 - math.pow(1.0 - confidence, 1.0 / samples)
    low, high = failed / samples, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(samples, failed, middle) > 1.0 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most(samples: int, failed: int, loss: float) -> float:
    """The chance to see so few failures when this part is lost."""
    if loss >= 1.0:
        return 0.0
    total = 0.0
    for count in range(failed + 1):
        ways = math.lgamma(samples + 1) - math.lgamma(count + 1) - math.lgamma(samples - count + 1)
        total += math.exp(ways + count * math.log(loss) + (samples - count) * math.log1p(-loss))
    return total

"""The draw is fixed by root and seed, and uniform; the bound is that of Clopper and Pearson."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

import pytest

from holdfast.pipeline.audit.draw import draw, loss_at_most
from holdfast.storage.cid import CID, RAW

ROOT = CID.of(RAW, b"root")


def test_a_challenge_can_be_recomputed_from_its_specification() -> None:
    sizes = [10, 0, 3, 1 << 40]
    for challenge in draw(b"seed", ROOT, sizes, 50):
        digest = hashlib.sha256(b"seed" + bytes(ROOT) + challenge.number.to_bytes(8, "big")).digest()
        at = int.from_bytes(digest, "big") % sum(sizes)
        assert at == sum(sizes[: challenge.file]) + challenge.offset
        assert 0 <= challenge.offset < sizes[challenge.file]


def test_the_seed_and_the_root_change_everything_and_more_samples_change_nothing() -> None:
    first = list(draw(b"a", ROOT, [1 << 50], 20))
    assert list(draw(b"a", ROOT, [1 << 50], 40))[:20] == first
    assert not {c.offset for c in first} & {c.offset for c in draw(b"b", ROOT, [1 << 50], 20)}
    assert not {c.offset for c in first} & {c.offset for c in draw(b"a", CID.of(RAW, b"other"), [1 << 50], 20)}


def test_files_are_drawn_by_their_size() -> None:
    found = Counter(c.file for c in draw(b"x", ROOT, [100, 300, 0, 600], 20_000))
    assert found[2] == 0
    for file, part in ((0, 0.1), (1, 0.3), (3, 0.6)):
        assert abs(found[file] / 20_000 - part) < 0.02


@pytest.mark.parametrize(("sizes", "samples"), [([], 1), ([0, 0], 1), ([1], 0)])
def test_nothing_to_draw_from_is_a_mistake(sizes: list[int], samples: int) -> None:
    with pytest.raises(ValueError, match="samples of"):
        draw(b"x", ROOT, sizes, samples)


# facts: n = ln(1-c)/ln(1-f); the others from scipy.stats.beta.ppf(0.99, k+1, n-k)
@pytest.mark.parametrize(("samples", "failed", "bound"), [
    (459, 0, 0.00998), (4603, 0, 0.001), (1, 0, 0.99), (100, 1, 0.0645), (100, 50, 0.6191), (10, 9, 0.998995),
    (10, 10, 1.0), (459, 3, 0.02171),
])  # fmt: skip
def test_the_bound(samples: int, failed: int, bound: float) -> None:
    assert loss_at_most(samples, failed) == pytest.approx(bound, rel=2e-3)


def test_the_bound_holds_as_often_as_it_says() -> None:
    """A provider that lost 5 %: in 2,000 audits of 100 samples the bound is below 5 % about 1 time in 100, or less."""
    numbers = random.Random(4)
    broken = 0
    for _ in range(2000):
        failed = sum(numbers.random() < 0.05 for _ in range(100))
        broken += loss_at_most(100, failed) < 0.05
    assert broken <= 40

"""The samples themselves, the same in every environment: only parts of NumPy whose streams are fixed for good."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .job import IMAGE_BYTES, SEQ_LEN, TEXT_CHARS

_WORDS, _ROWS = 20_000, 1_000


def images(count: int) -> Iterator[tuple[int, bytes]]:
    """Number, and 100,000 random bytes."""
    for number in range(count):
        yield number, np.random.default_rng(number).bytes(IMAGE_BYTES)


def text(count: int) -> Iterator[tuple[int, str]]:
    """Number, and 2,048 characters of words whose frequencies follow Zipf."""
    random = np.random.default_rng(2)
    letters = np.array(list("etaoinshrdlucmfwypvb"))
    words = ["".join(letters[(random.random(2 + n % 9) * len(letters)).astype(int)]) for n in range(_WORDS)]
    shares = np.cumsum(1 / np.arange(1, _WORDS + 1) ** 1.05)
    for first in range(0, count, _ROWS):
        picks = np.searchsorted(shares / shares[-1], random.random((min(_ROWS, count - first), TEXT_CHARS // 2)))
        for offset, row in enumerate(np.minimum(picks, _WORDS - 1).tolist()):
            yield first + offset, _cut(words, row)


def _cut(words: list[str], row: list[int]) -> str:
    found = " ".join([words[pick] for pick in row[: TEXT_CHARS // 4]])
    if len(found) < TEXT_CHARS:
        found += " " + " ".join([words[pick] for pick in row[TEXT_CHARS // 4 :]])
    return found[:TEXT_CHARS]


def token_stream(windows: int) -> np.ndarray:
    """uint16, as many as `windows` windows need: each begins with the last token of the one before."""
    random = np.random.default_rng(3)
    return (random.random(windows * SEQ_LEN + 1, dtype=np.float32) * 50_000).astype(np.uint16)


def windows(count: int) -> Iterator[np.ndarray]:
    """The windows of `token_stream` as arrays of SEQ_LEN + 1."""
    stream = token_stream(count)
    for number in range(count):
        yield stream[number * SEQ_LEN : number * SEQ_LEN + SEQ_LEN + 1]

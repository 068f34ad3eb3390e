"""Several datasets as one: the weights kept exactly, each dataset whole, and any world goes on from any state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import DataLoader, Mixture, StreamingDataset
from holdfast.loaders.mix import Mix
from holdfast.storage.errors import ConfigError
from support.mirror_server import MirrorServer

Serve = Callable[..., MirrorServer]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(0, 2**64 - 1), st.integers(0, 10**12))
def test_every_round_has_the_weights_and_every_draw_comes_once(weights: list[int], seed: int, first: int) -> None:
    mix, size = Mix(tuple(weights), seed), sum(weights)
    start = first // size * size
    which, numbers = mix.pick(np.arange(start, start + 5 * size))
    for at in range(0, 5 * size, size):
        counts = Counter(which[at : at + size].tolist())
        assert [counts[number] for number in range(len(weights))] == weights
    for number, weight in enumerate(weights):
        drawn = sorted(numbers[which == number].tolist())
        assert drawn == list(range(start // size * weight, (start // size + 5) * weight))
    middle = start + size + 1
    again = mix.pick(np.array([middle]))
    assert (again[0][0], again[1][0]) == (which[size + 1], numbers[size + 1])


@pytest.fixture
def make(text: Any, images: Any, serve: Serve, tmp_path: Path) -> Callable[..., Mixture]:
    """300 texts and 2,000 images, two to three."""
    urls = [(part[1].uri, serve(part[1].folder).url) for part in (text, images)]

    def made(weights: tuple[int, ...] = (2, 3), **given: Any) -> Mixture:
        parts = [StreamingDataset(uri, sources=[url], cache=tmp_path, seed=3) for uri, url in urls]
        return Mixture(parts, weights, **{"samples": 1500, "seed": 8, **given})

    return made


def names(samples: Any) -> list[tuple[str, int]]:
    return [("text" if "text" in sample else "image", sample["__index__"]) for sample in samples]


def test_datasets_come_by_weight_each_in_its_own_order(make: Callable[..., Mixture]) -> None:
    mixture = make()
    assert len(mixture) == 1500
    found = names(mixture)
    assert Counter(kind for kind, _ in found) == {"text": 600, "image": 900}
    texts = [number for kind, number in found if kind == "text"]
    assert sorted(texts[:300]) == sorted(texts[300:]) == list(range(300)), "gone through twice"
    assert texts[:300] != texts[300:], "shuffled anew"
    images = [number for kind, number in found if kind == "image"]
    assert len(set(images)) == 900
    mixture.set_epoch(1)
    more = [number for kind, number in names(mixture) if kind == "image"]
    assert not set(images) & set(more), "the next epoch goes on where this one ended"
    mixture.close()


def test_it_stops_and_goes_on_in_other_worlds(make: Callable[..., Mixture]) -> None:
    whole = names(make())
    state: dict[str, Any] = {}
    seen: list[tuple[str, int]] = []
    for world, steps in ((4, 70), (3, 200), (5, None)):
        parts, states = [], []
        for rank in range(world):
            mixture = make(rank=rank, world_size=world, tail="exact")
            if state:
                mixture.load_state_dict(state)
            parts.append(names(islice(mixture, steps)))
            states.append(mixture.state_dict())
            mixture.close()
        state = states[0]
        seen += [part[step] for step in range(max(map(len, parts))) for part in parts if step < len(part)]
    assert seen == whole


def test_our_loader_takes_a_mixture_with_workers(make: Callable[..., Mixture]) -> None:
    whole = names(make())
    loader = DataLoader(make(), batch_size=10, num_workers=2, collate_fn=list)
    batches = iter(loader)
    seen = names(sample for batch in islice(batches, 31) for sample in batch)
    state = loader.state_dict()
    del batches
    again = DataLoader(make(), batch_size=10, collate_fn=list)
    again.load_state_dict(state)
    assert seen + names(sample for batch in again for sample in batch) == whole
    other = DataLoader(make((3, 2)), batch_size=10)
    with pytest.raises(ConfigError, match="the state is of"):
        other.load_state_dict(state)


def test_mistakes_are_sentences(make: Callable[..., Mixture]) -> None:
    for wrong in ((1,), (1, 2, 3)):
        with pytest.raises(ConfigError, match="weights"):
            make(wrong)
    with pytest.raises(ConfigError, match="weights=0: expected a whole number, 1 or more"):
        make((0, 1))
    with pytest.raises(ConfigError, match="samples=0"):
        make(samples=0)

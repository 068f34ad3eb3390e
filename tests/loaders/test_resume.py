"""Stop anywhere, go on elsewhere: what comes is what would have come."""

from __future__ import annotations

import copy
import json
import pickle
import random
import signal
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torchdata.stateful_dataloader import StatefulDataLoader

from holdfast import DataLoader, StreamingDataset
from holdfast.loaders.shared_start import SharedStart
from holdfast.storage.errors import ConfigError
from support.mirror_server import MirrorServer
from support.programs import Program

Serve = Callable[..., MirrorServer]
Make = Callable[..., StreamingDataset]
SEED = 11


@pytest.fixture
def make(text: Any, serve: Serve, tmp_path: Path) -> Make:
    """A dataset of 300 texts; all share one cache."""
    _, published = text
    url = serve(published.folder).url
    return lambda **given: StreamingDataset(
        published.uri, **{"sources": [url], "cache": tmp_path, "seed": SEED, **given}
    )


def numbers(dataset: StreamingDataset, count: int | None = None) -> list[int]:
    return [sample["__index__"] for sample in islice(dataset, count)]


def flat(batches: Any) -> list[int]:
    return [sample["__index__"] for batch in batches for sample in batch]


@pytest.mark.parametrize("stop", [0, 1, 37, 299, 300])
def test_a_dataset_goes_on_exactly_where_its_state_says(make: Make, stop: int) -> None:
    whole = numbers(make())
    first = make()
    seen = numbers(first, stop)
    state = json.loads(json.dumps(first.state_dict()))
    assert len(json.dumps(state)) < 300
    second = make()
    second.load_state_dict(state)
    assert seen + numbers(second) == whole
    assert numbers(second) == whole, "the pass behind a resumed one is a whole one"


def test_a_state_belongs_to_its_epoch(make: Make) -> None:
    first = make()
    first.set_epoch(3)
    seen = numbers(first, 100)
    second, third = make(), make()
    for dataset in (second, third):
        dataset.load_state_dict(first.state_dict())
    second.set_epoch(3)  # as a training loop does that goes on in epoch 3
    whole = make()
    whole.set_epoch(3)
    assert seen + numbers(second) == numbers(whole)
    third.set_epoch(4)
    whole.set_epoch(4)
    assert numbers(third) == numbers(whole)
    assert first.state_dict()["epoch"] == 3
    first.set_epoch(4)
    assert (first.state_dict()["epoch"], first.state_dict()["start"]) == (4, 0)


def test_worlds_of_four_three_and_five_see_an_epoch_once(make: Make) -> None:
    state: dict[str, Any] = {}
    seen: list[int] = []
    for world, steps in ((4, 11), (3, 40), (5, None)):
        states, parts = [], []
        for rank in range(world):
            dataset = make(rank=rank, world_size=world, tail="exact")
            if state:
                dataset.load_state_dict(state)
            parts.append(numbers(dataset, steps))
            states.append(dataset.state_dict())
            dataset.close()
        assert steps is None or all(found == states[0] for found in states), "any rank may save"
        state = states[0]
        seen += [part[step] for step in range(max(map(len, parts))) for part in parts if step < len(part)]
    assert seen == numbers(make())


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("workers", "then"), [(0, 2), (2, 0), (2, 3), (3, 1)])
def test_our_loader_goes_on_with_other_workers(make: Make, workers: int, then: int) -> None:
    whole = numbers(make())
    loader = DataLoader(make(), batch_size=8, num_workers=workers, collate_fn=list)
    batches = iter(loader)
    seen = flat(islice(batches, 13))
    state = pickle.loads(pickle.dumps(loader.state_dict()))
    del batches
    again = DataLoader(make(), batch_size=5, num_workers=then, collate_fn=list)
    again.load_state_dict(state)
    assert again.state_dict() == state, "nothing was delivered yet"
    assert seen + flat(again) == whole
    assert flat(again) == whole


def test_our_loader_with_workers_that_live_on(make: Make) -> None:
    whole = [numbers(make())]
    loader = DataLoader(make(), batch_size=8, num_workers=2, collate_fn=list, persistent_workers=True)
    saved = make()
    seen = numbers(saved, 80)
    loader.load_state_dict(saved.state_dict())
    assert seen + flat(loader) == whole[0]
    assert flat(loader) == whole[0]
    loader.load_state_dict(saved.state_dict())
    assert seen + flat(loader) == whole[0]


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata 0.11 asks torch 2.13 for it
@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("stop", [1, 6, 75])
def test_torchdatas_loader_goes_on(make: Make, workers: int, stop: int) -> None:
    whole = numbers(make())
    load = lambda: StatefulDataLoader(make(batch_size=4), batch_size=4, num_workers=workers, collate_fn=list)
    loader = load()
    seen = flat(islice(loader, stop))
    state = loader.state_dict()
    again = load()
    again.load_state_dict(state)
    assert seen + flat(again) == whole


def test_a_kill_loses_nothing_but_the_steps_since_the_last_save(make: Make, text: Any, tmp_path: Path) -> None:
    """A training in a process of its own saves after every step, and is killed at one."""
    _, published = text
    script = """
import json, os, signal, sys
from pathlib import Path
from holdfast import DataLoader
uri, url, place, stop = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
loader = DataLoader(uri, batch_size=8, num_workers=2, sources=[url], cache=place / "cache", seed=11, collate_fn=list)
if (place / "state").exists():
    loader.load_state_dict(json.loads((place / "state").read_text()))
with (place / "seen").open("a") as seen:
    for step, batch in enumerate(loader):
        seen.write("".join(f"{sample['__index__']}\\n" for sample in batch))
        seen.flush()
        (place / "new").write_text(json.dumps(loader.state_dict()))
        (place / "new").replace(place / "state")
        if step == stop:
            os.kill(os.getpid(), signal.SIGKILL)
"""
    url = make()._access._sources[0]  # type: ignore[index]
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    for stop in (rng.randrange(10), rng.randrange(10), 1000):
        ended = Program(script, published.uri, url, tmp_path, stop).wait()
        assert ended == (0 if stop == 1000 else -signal.SIGKILL)
    assert [int(line) for line in (tmp_path / "seen").read_text().splitlines()] == numbers(make())


def test_what_a_pass_is_of_is_settled_when_it_begins(make: Make) -> None:
    whole = {epoch: numbers(in_epoch(make(), epoch)) for epoch in (0, 5)}
    for dataset in (make(), DataLoader(make(), batch_size=1, collate_fn=lambda samples: samples[0])):
        begun = iter(dataset)
        dataset.set_epoch(5)
        assert [sample["__index__"] for sample in begun] == whole[0]
        assert numbers(dataset) == whole[5]


def in_epoch(dataset: StreamingDataset, epoch: int) -> StreamingDataset:
    dataset.set_epoch(epoch)
    return dataset


def test_a_loader_says_which_epoch_it_goes_on_with(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    saved = DataLoader(in_epoch(make(), 3), batch_size=8, collate_fn=list)
    seen = flat(islice(saved, 5))
    again, wrong = (DataLoader(make(), batch_size=8, collate_fn=list) for _ in range(2))
    for loader in (again, wrong):
        loader.load_state_dict(saved.state_dict())
    found = []
    for epoch in range(again.epoch, 5):  # the loop of a training that is resumed
        again.set_epoch(epoch)
        found.append(flat(again))
    assert seen + found[0] == numbers(in_epoch(make(), 3))
    assert found[1:] == [numbers(in_epoch(make(), 4))]
    assert not caplog.messages
    wrong.set_epoch(0)  # a loop that begins anew, which drops what was loaded
    assert "set_epoch(0) drops the state that was loaded, of epoch 3" in caplog.messages[0]
    assert flat(wrong) == numbers(make())


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_of_a_plain_loader_take_a_state_once(make: Make, persistent: bool) -> None:
    whole = numbers(make())
    saved = make()
    seen = numbers(saved, 40)
    dataset = make(batch_size=4)
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=4, num_workers=2, collate_fn=list, persistent_workers=persistent
    )
    for _ in range(2):
        dataset.load_state_dict(saved.state_dict())
        assert seen + flat(loader) == whole
        assert flat(loader) == whole


def test_iterators_over_one_dataset_have_their_own_place(make: Make) -> None:
    whole, later = numbers(make()), numbers(in_epoch(make(), 1))
    dataset = make()
    assert [(a["__index__"], b["__index__"]) for a, b in zip(dataset, dataset, strict=True)] == [
        (number, number) for number in whole
    ]
    for workers in (0, 2):
        loader = DataLoader(make(), batch_size=4, num_workers=workers, collate_fn=numbers)
        batches = [whole[at : at + 4] for at in range(0, 300, 4)]
        assert [list(pair) for pair in zip(loader, loader, strict=True)] == [[batch, batch] for batch in batches]
    first = iter(dataset)
    dataset.set_epoch(1)
    second = iter(dataset)
    assert [sample["__index__"] for sample in second] == later
    assert [sample["__index__"] for sample in first] == whole
    assert dataset.state_dict()["epoch"] == 1


def test_a_state_is_of_the_pass_that_began_last(make: Make) -> None:
    loader = DataLoader(make(), batch_size=4, collate_fn=list)
    first = iter(loader)
    next(first), next(first)
    second = iter(loader)
    next(second), next(first), next(first)
    assert loader.state_dict()["start"] == 4
    held = iter(loader.dataset)
    next(held)
    loader.load_state_dict(loader.state_dict())
    new = iter(loader.dataset)
    next(held), next(held)
    assert len(list(new)) == 296, "what an older iterator reads is not of the new one's"


def test_a_state_that_the_dataset_was_given_is_the_loaders(make: Make) -> None:
    loader = DataLoader(make(), batch_size=4, collate_fn=list)
    next(iter(loader))
    saved = make()
    numbers(saved, 20)
    loader.dataset.load_state_dict(saved.state_dict())
    assert loader.state_dict() == saved.state_dict() == loader.dataset.state_dict()


def test_a_loader_that_is_made_of_anothers_parts_gives_batches(make: Make) -> None:
    loader = DataLoader(make(batch_size=4), num_workers=2, collate_fn=numbers)
    batches = list(loader)
    assert loader.collate_fn is numbers
    for other in (torch.utils.data.DataLoader, DataLoader):
        again = other(loader.dataset, loader.batch_size, num_workers=2, collate_fn=loader.collate_fn)
        assert list(again) == batches


def test_batches_out_of_order_are_refused(make: Make) -> None:
    with pytest.raises(ConfigError, match="in_order=False"):
        DataLoader(make(), batch_size=4, num_workers=2, in_order=False)


def test_what_tail_drops_is_delivered_by_no_later_world(make: Make) -> None:
    dataset = make(rank=0, world_size=7, tail="drop")
    loader = DataLoader(make(rank=0, world_size=7, tail="drop"), batch_size=8, collate_fn=list)
    list(dataset), list(loader)
    assert dataset.state_dict()["start"] == loader.state_dict()["start"] == 300


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.parametrize("persistent", [False, True])
def test_an_epoch_set_while_workers_begin_is_for_the_next_pass(make: Make, persistent: bool, context: str) -> None:
    """Processes take their time to start: by then the training may have said more."""
    whole, later = numbers(make()), numbers(in_epoch(make(), 1))
    saved = make()
    seen = numbers(saved, 40)
    dataset = make(batch_size=4)
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=4, num_workers=2, collate_fn=list, persistent_workers=persistent,
        multiprocessing_context=context,
    )  # fmt: skip
    dataset.load_state_dict(saved.state_dict())
    begun = iter(loader)
    dataset.set_epoch(1)
    assert seen + flat(begun) == whole
    del begun
    assert flat(loader) == later


def test_an_epoch_has_63_bits(make: Make) -> None:
    dataset = in_epoch(make(), (1 << 63) - 1)
    assert sorted(numbers(dataset)) == list(range(300))
    for epoch in (-1, 1 << 63):
        with pytest.raises(ConfigError, match="epoch="):
            dataset.set_epoch(epoch)


def test_more_workers_than_there_is_room_for_are_refused() -> None:
    start = SharedStart()
    start.resume(0, 100)
    assert [start.take_by_worker(number, 1024, 7, first=True) for number in range(1024)] == [(0, 100)] * 1024
    with pytest.raises(ConfigError, match="1025 workers"):
        start.take_by_worker(1024, 1025, 7, first=True)


def test_a_copy_of_a_dataset_has_a_start_of_its_own(make: Make) -> None:
    whole = numbers(make())
    saved, dataset = make(), make()
    seen = numbers(saved, 40)
    dataset.load_state_dict(saved.state_dict())
    copies = [copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))]
    for one in (*copies, dataset):
        assert seen + numbers(one) == whole
        assert numbers(one) == whole


def test_a_loader_takes_the_batch_size_of_its_dataset(make: Make) -> None:
    assert [len(batch) for batch in DataLoader(make(batch_size=70), collate_fn=list)] == [70, 70, 70, 70, 20]
    assert DataLoader(make()).batch_size == 1
    with pytest.raises(ConfigError, match="batch_size=2, but the dataset was made with batch_size=3"):
        DataLoader(make(batch_size=3), batch_size=2)
    with pytest.raises(ConfigError, match="batch_size=0"):
        DataLoader(make(), batch_size=0)


def test_a_state_of_something_else_is_refused_in_a_sentence(make: Make) -> None:
    state = make().state_dict()
    with pytest.raises(ConfigError, match="seed=11, this one has seed=12"):
        make(seed=12).load_state_dict(state)
    with pytest.raises(ConfigError, match="not a state"):
        make().load_state_dict({"epoch": 3})
    with pytest.raises(ConfigError, match="negative"):
        make().load_state_dict({**state, "start": -1})
    with pytest.raises(ConfigError, match="version 99"):
        make().load_state_dict({**state, "version": 99})


def test_a_plain_loader_with_workers_says_who_can_save(make: Make) -> None:
    dataset = make(batch_size=4)
    loader = torch.utils.data.DataLoader(dataset, batch_size=4, num_workers=2, collate_fn=list)
    batches = iter(loader)
    next(batches)
    with pytest.raises(ConfigError, match="do not say how much") as caught:
        dataset.state_dict()
    assert "holdfast.DataLoader" in caught.value.hint
    del batches  # now: what pytest keeps of the error would keep its workers, and end them after 5 s each


def test_ranks_have_as_many_steps_unless_asked_otherwise(make: Make) -> None:
    lengths = {
        tail: [len(make(rank=rank, world_size=7, tail=tail)) for rank in range(7)]
        for tail in ("repeat", "drop", "exact")
    }
    assert lengths == {"repeat": [43] * 7, "drop": [42] * 7, "exact": [43] * 6 + [42]}
    assert len(make(rank=0, world_size=7)) == 43, "repeat is the default: no rank waits for another for ever"
    with pytest.raises(ConfigError, match="tail='pad'"):
        make(tail="pad")


@pytest.mark.parametrize("seed", [1.5, "7", None, -1, 1 << 64])
def test_a_seed_is_a_whole_number(make: Make, seed: Any) -> None:
    with pytest.raises(ConfigError, match="seed="):
        make(seed=seed)

"""`order` as a person types it: the samples of each step, without any of the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cli.conftest import Dataset, Done

from holdfast import DataLoader, StreamingDataset
from support.mirror_server import MirrorServer

Command = Callable[..., Done]


def test_it_is_what_the_loader_delivers_and_reads_no_shard(
    command: Command, dataset: Dataset, server: MirrorServer, tmp_path: Path
) -> None:
    reader = StreamingDataset(
        dataset.uri, sources=[server.url], cache=tmp_path, seed=5, rank=1, world_size=2, tail="exact"
    )
    reader.set_epoch(2)
    delivered = [sample["__index__"] for sample in reader]
    reader.close()
    before = len(server.requests)
    common = ("--from", server.url, "--seed", "5", "--epoch", "2", "--rank", "1", "--world", "2", "--tail", "exact")
    found = command("order", dataset.uri, *common, "--batch-size", "3", "--steps", "1:4", "--json")
    assert found.code == 0, found
    document = found.json()
    assert document["first_step"] == 1
    assert [sample for step in document["steps"] for sample in step] == delivered[3:12]
    assert not [path for path in server.requests[before:] if "/data/" in str(path)]
    words = command("order", dataset.uri, *common, "--steps", "0:2")
    assert words.code == 0
    assert words.out.split() == ["0", str(delivered[0]), "1", str(delivered[1])]
    rest = command("order", dataset.uri, *common, "--steps", "0:100000", "--json").json()
    assert [sample for step in rest["steps"] for sample in step] == delivered


def test_a_world_that_went_on_and_repeats_its_tail(
    command: Command, dataset: Dataset, server: MirrorServer, tmp_path: Path
) -> None:
    """`--start`, `--no-shuffle` and the default tail, beside a loader that was given the state."""
    options = {"sources": [server.url], "cache": tmp_path, "seed": 5, "shuffle": False, "rank": 1, "world_size": 4}
    loader = DataLoader(StreamingDataset(dataset.uri, **options), batch_size=3, collate_fn=list)
    loader.load_state_dict({**loader.state_dict(), "start": 7})
    delivered = [[sample["__index__"] for sample in batch] for batch in loader]
    loader.dataset.close()
    common = ("--from", server.url, "--seed", "5", "--rank", "1", "--world", "4", "--start", "7", "--no-shuffle")
    found = command("order", dataset.uri, *common, "--batch-size", "3", "--steps", "0:1000", "--json").json()
    assert found["steps"] == delivered
    none = command("order", dataset.uri, *common, "--batch-size", "3", "--steps", "900:1000")
    assert none.out.strip() == f"no samples: the rank has {len(delivered)} steps in all, from 0 on"


def test_mistakes_are_sentences(command: Command, dataset: Dataset, server: MirrorServer) -> None:
    where = (dataset.uri, "--from", server.url, "--json")
    command("order", *where, "--steps", "5").failed(2, "config", "A:B")
    command("order", *where, "--steps", "4:4").failed(2, "config", "are none")
    command("order", *where, "--start", "100000").failed(2, "config", "an epoch has")
    command("order", *where, "--rank", "2", "--world", "2").failed(2, "config", "no place in a training")
    command("order", *where, "--tail", "pad").failed(2, "config", "pad")
    command("order", *where, "--seed", "-1").failed(2, "config", "seed")
    command("order", *where, "--steps", "0:99999999").failed(2, "config", "more than")
    command("order", *where, "--seq-len", "8").failed(2, "config", "seq_len")

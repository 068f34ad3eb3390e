"""For those who must know what was trained on: `order`."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from ..configs.errors import ConfigError
from .options import AllowNet, AsJson, Deadline, From, Repo, RosterFile
from .output import emit
from .reader import Uri, session_of

_MAX_SAMPLES = 10_000_000  # of one answer
_STEPS = re.compile(r"(\d{1,18}):(\d{1,18})")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(order)


def order(
    uri: Uri,
    seed: Annotated[int, typer.Option(help="The seed of the training.")] = 0,
    epoch: Annotated[int, typer.Option(help="Epochs count from 0.")] = 0,
    rank: Annotated[int, typer.Option(help="Ranks count from 0.")] = 0,
    world: Annotated[int, typer.Option(help="How many ranks there are.")] = 1,
    steps: Annotated[str, typer.Option(help="A:B: steps A to B-1.")] = "0:10",
    batch_size: Annotated[int, typer.Option(help="Samples that a rank takes in one step.")] = 1,
    start: Annotated[int, typer.Option(help="The position of the epoch at which this world began.")] = 0,
    tail: Annotated[str, typer.Option(help="exact, drop or repeat.")] = "repeat",
    shuffle: Annotated[bool, typer.Option(help="The order of the shards, without.")] = True,
    partition: Annotated[str | None, typer.Option(help="Of this partition.")] = None,
    seq_len: Annotated[int | None, typer.Option(help="Of token datasets.")] = None,
    urls: From = None,
    roster: RosterFile = None,
    repo: Repo = None,
    deadline: Deadline = None,
    allow_net: AllowNet = None,
    as_json: AsJson = False,
) -> None:
    """Compute which samples a rank got at which step: from root and seed alone, without any data."""
    from ..loaders.epoch import Epoch
    from ..loaders.order import Order
    from ..loaders.share import TAILS, Share
    from ..storage.dataset import Dataset

    first, last = _steps(steps)
    if (last - first) * batch_size > _MAX_SAMPLES:
        raise ConfigError(f"--steps {steps}: more than {_MAX_SAMPLES} samples", hint="ask for fewer steps at a time")
    if tail not in TAILS:
        raise ConfigError(f"--tail {tail}", hint=f"expected {', '.join(TAILS)}")
    if world < 1 or not 0 <= rank < world or batch_size < 1 or start < 0:
        raise ConfigError(
            f"--rank {rank} --world {world} --batch-size {batch_size} --start {start} is no place in a training",
            hint="ranks count from 0 to world - 1; a batch has 1 sample or more",
        )
    if first == last:
        raise ConfigError(f"--steps {steps} are none", hint="--steps 0:10 are the first ten")
    with session_of(uri, urls, roster, repo, deadline, allow_net) as session:
        dataset = Dataset(session.tree).open()
        found = Epoch.of(dataset.head, dataset.partition(partition), seq_len)
        try:
            chosen = Order(bytes(session.uri.root), seed, epoch, found.parameters, shuffle)
        except ValueError as error:
            raise ConfigError(str(error), hint="seed and epoch are whole numbers from 0 to 2**64 - 1") from error
    if start > found.parameters.samples:
        raise ConfigError(
            f"--start {start}: an epoch has {found.parameters.samples} samples", hint="give a smaller one"
        )
    share = Share(found.parameters.samples, rank, world, batch_size=batch_size, start=start, tail=tail)
    count = min(last * batch_size, share.rank_samples)
    answer: list[int] = []
    for positions in share.positions(min(first * batch_size, count)):
        answer += (chosen.samples_at(positions[: count - first * batch_size - len(answer)]) + found.first).tolist()
        if len(answer) >= count - first * batch_size:
            break
    batches = [answer[at : at + batch_size] for at in range(0, len(answer), batch_size)]
    document = {
        "root": str(session.uri.root),
        "seed": seed,
        "epoch": epoch,
        "rank": rank,
        "world": world,
        "samples": found.parameters.samples,
        "first_step": first,
        "steps": batches,
    }
    lines = [f"{number:>8}  {' '.join(map(str, batch))}" for number, batch in enumerate(batches, first)]
    none = f"no samples: the rank has {-(-share.rank_samples // batch_size)} steps in all, from 0 on"
    emit(document, as_json=as_json, words="\n".join(lines) or none)


def _steps(text: str) -> tuple[int, int]:
    match = _STEPS.fullmatch(text)
    if match is None or int(match[1]) > int(match[2]):
        raise ConfigError(f"--steps {text}: expected A:B with A <= B", hint="--steps 0:10 are the first ten")
    return int(match[1]), int(match[2])

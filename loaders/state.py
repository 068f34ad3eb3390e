"""`State`: where in its epoch a dataset stands, as something to save in a checkpoint. Pure.

A state names the order it belongs to and one position: everything before `start` is delivered, by whatever ranks and
workers. So another world may go on from it. A worker of a torchdata `StatefulDataLoader` saves for itself alone: then
`taken` are the samples that this worker has delivered since, and only the same worker of as many can go on.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..storage.errors import ConfigError
from .share import Tail

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Pass:
    """What is iterated, and in which order: a state goes with no other."""

    root: str
    partition: str | None
    seq_len: int | None
    seed: int
    shuffle: bool


@dataclass(frozen=True, slots=True)
class Dealt:
    """How positions are dealt, which matters while a worker has `taken` some of its own."""

    rank: int = 0
    world_size: int = 1
    worker: int = 0
    workers: int = 1
    batch_size: int = 1
    tail: Tail = "exact"


@dataclass(frozen=True, slots=True)
class State:
    """See the module. `start` counts positions of the epoch, `taken` the worker's own samples behind it."""

    of: Pass
    epoch: int = 0
    start: int = 0
    taken: int = 0
    dealt: Dealt | None = None

    def encode(self) -> dict[str, Any]:
        """Numbers, texts and dicts of them: for JSON, pickle or torch.save."""
        found: dict[str, Any] = {"version": _VERSION, **asdict(self.of), "epoch": self.epoch, "start": self.start}
        if self.taken:
            assert self.dealt is not None
            found |= {"taken": self.taken, "dealt": asdict(self.dealt)}
        return found

    @classmethod
    def decode(cls, document: Mapping[str, Any], expected: Pass) -> State:
        """Read what `encode` wrote. Raises `ConfigError` for a state of something else, or no state at all."""
        try:
            if document["version"] != _VERSION:
                raise ConfigError(
                    f"a state of version {document['version']}, expected {_VERSION}",
                    hint="go on with the version of holdfast that saved it",
                )
            of = Pass(**{field.name: document[field.name] for field in fields(Pass)})
            epoch, start, taken = (operator.index(document.get(name, 0)) for name in ("epoch", "start", "taken"))
            dealt = Dealt(**document["dealt"]) if taken else None
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"not a state of a dataset: {type(error).__name__} {error}", hint="give what state_dict() returned"
            ) from error
        if min(epoch, start, taken) < 0:
            raise ConfigError("not a state of a dataset: a negative number", hint="give what state_dict() returned")
        for name, ours, theirs in _differences(expected, of):
            raise ConfigError(
                f"the state is of a dataset with {name}={theirs!r}, this one has {name}={ours!r}",
                hint="make the dataset as it was when the state was saved",
            )
        return cls(of, epoch, start, taken, dealt)

    def check_dealt(self, now: Dealt) -> None:
        """Raises `ConfigError` when a worker's own state is given to another one."""
        for name, ours, theirs in _differences(now, self.dealt) if self.taken and self.dealt else ():
            raise ConfigError(
                f"the state was saved by one worker of a loader with {name}={theirs!r}; here it is {ours!r}",
                hint="torchdata's loader goes on with the same workers only; holdfast.DataLoader with any",
            )


def _differences(ours: Any, theirs: Any) -> list[tuple[str, object, object]]:
    pairs = ((field.name, getattr(ours, field.name), getattr(theirs, field.name)) for field in fields(ours))
    return [(name, mine, other) for name, mine, other in pairs if mine != other]

"""`Job`: what one measured process is told, and `Outcome`: what it says. Imported by every peer: standard library."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

BATCH = 64
SEED = 1
IMAGE_BYTES = 100_000
TEXT_CHARS = 2_048
SEQ_LEN = 2_048


@dataclass(frozen=True)
class Job:
    """One epoch: which loader, over what, from where.

    `corpus`: images, text, tokens or jpeg. `url`: the server of all formats. `cache`: the loader's own folder.
    `shards`: how many files the format of this loader has. `batch`: samples. `options`: what only one loader knows.
    """

    loader: str
    corpus: str
    url: str
    cache: str
    workers: int
    shuffle: bool
    samples: int
    shards: int = 0
    batch: int = BATCH
    options: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Outcome:
    """What a run took, from before the dataset object was made: to the first batch, to the last, to the loop's end.

    Rates are to the last batch; what ending the workers takes is not in them.
    `samples` came, `distinct` of them; `bytes` of payload; `digest`: a sum over content, the same in any order.
    `cpu_before_s`: CPU seconds of the imports, which are not the run's.
    """

    first_s: float
    epoch_s: float
    end_s: float
    samples: int
    distinct: int
    bytes: int
    digest: int
    cpu_before_s: float

"""A small byte-level language model, trained on what the loader delivers."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from ..loaders.dataset import StreamingDataset

CONTEXT, WIDTH, BATCH = 96, 96, 8


class ByteModel(nn.Module):
    """Next-byte prediction: embedding, one GRU, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, WIDTH)
        self.mix = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, 256)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64[batch, time] → float32[batch, time, 256]."""
        hidden, _ = self.mix(self.embed(tokens))
        logits: torch.Tensor = self.head(hidden)
        return logits


@dataclass
class Run:
    """What one training run saw. `digest` is over all samples of all batches, in order."""

    digest: str = ""
    losses: list[float] = field(default_factory=list)
    samples: int = 0
    longest_stall_ms: float = 0.0
    seconds: float = 0.0

    @property
    def first_loss(self) -> float:
        """Mean of the first tenth of the steps."""
        part = self.losses[: max(len(self.losses) // 10, 1)]
        return sum(part) / len(part)

    @property
    def last_loss(self) -> float:
        """Mean of the last tenth of the steps."""
        part = self.losses[-max(len(self.losses) // 10, 1) :]
        return sum(part) / len(part)


def train(dataset: StreamingDataset, steps: int, on_step: Callable[[int], None]) -> Run:
    """Train for `steps` batches of 8; `on_step(step)` is called before each."""
    torch.manual_seed(0)
    model = ByteModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    digest, run = hashlib.sha256(), Run()
    batches = _batches(dataset)
    begun = time.monotonic()
    for step in range(steps):
        on_step(step)
        waited = time.monotonic()
        batch = next(batches)
        if step:  # the first batch opens the dataset: a start, not a stall
            run.longest_stall_ms = max(run.longest_stall_ms, (time.monotonic() - waited) * 1e3)
        for sample in batch:
            digest.update(f"{sample['__index__']} {sample['__key__']}\0".encode() + _content(sample))
        run.samples += len(batch)
        tokens = torch.stack([_crop(_content(sample), step) for sample in batch])
        loss = nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        run.losses.append(float(loss.detach()))
    run.digest, run.seconds = digest.hexdigest(), time.monotonic() - begun
    return run


def _batches(dataset: StreamingDataset) -> Iterator[list[dict[str, Any]]]:
    epoch = 0
    while True:  # a small PATH has fewer samples than the run needs: further epochs
        dataset.set_epoch(epoch)
        count = 0
        for batch in DataLoader(dataset, batch_size=BATCH, collate_fn=list):
            count += 1
            yield batch
        if not count:
            raise RuntimeError("the dataset has no samples")
        epoch += 1


def _content(sample: dict[str, Any]) -> bytes:
    """The sample's values as bytes, in the order of their names."""
    parts = []
    for name in sorted(sample):
        if not name.startswith("__") and name != "path":
            value = sample[name]
            parts.append(value if isinstance(value, bytes) else str(value).encode())
    return b"\0".join(parts)


def _crop(data: bytes, step: int) -> torch.Tensor:
    """CONTEXT + 1 bytes out of the sample, at a place that depends on step and length alone."""
    data = data.ljust(CONTEXT + 1, b"\n")
    start = (step * 7919) % (len(data) - CONTEXT)
    return torch.frombuffer(bytearray(data[start : start + CONTEXT + 1]), dtype=torch.uint8).long()

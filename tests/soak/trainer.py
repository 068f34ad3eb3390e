"""`python -m soak.trainer CONFIG`: epochs without end; each sample and its place against the reference.

Two workers live through all epochs. Every tenth epoch is also read by a dataset that is made for it, in this process,
with an empty cache: it has not learned yet who lies. A line of JSON for each pass. Ends after the one in which
standard input was closed.
"""

from __future__ import annotations

import gc
import hashlib
import json
import select
import shutil
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from holdfast import StreamingDataset
from holdfast.loaders.order import Order
from holdfast.loaders.order_parameters import OrderParameters

_BATCH = 16
_NEW_READER_EVERY = 10


class Trainer:
    """Trains on nothing, looks at everything."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.reference = config["reference"]  # [key, sha256] by global index
        self.dataset = self._dataset(config["cache"])
        head = self.dataset.head
        assert head.samples == len(self.reference)
        self.parameters = OrderParameters.of(head.order, head.samples)
        self.dataset.close()  # workers are forked from a process without threads
        gc.freeze()  # else a full collection here copies, once, 36 MB of what its workers share with it

    def _dataset(self, cache: str) -> StreamingDataset:
        config = self.config
        return StreamingDataset(
            config["uri"], sources=config["sources"], seed=config["seed"], batch_size=_BATCH, cache=cache,
            cache_bytes=config["cache_bytes"], prefetch_bytes=config["prefetch_bytes"],
        )  # fmt: skip

    def train(self) -> None:
        """Epoch after epoch."""
        loader = DataLoader(self.dataset, batch_size=_BATCH, num_workers=2, persistent_workers=True, collate_fn=list)
        epoch = 0
        while epoch == 0 or not select.select([sys.stdin], [], [], 0)[0]:
            self.dataset.set_epoch(epoch)
            self._pass(epoch, loader, {"reader": "workers"})
            if epoch % _NEW_READER_EVERY == 0:
                self._anew(epoch)
            epoch += 1

    def _anew(self, epoch: int) -> None:
        cold = f"{self.config['cache']}-cold"
        dataset = self._dataset(cold)
        dataset.set_epoch(epoch)
        line = {"reader": "new", "blamed": {}}
        self._pass(epoch, DataLoader(dataset, batch_size=_BATCH, collate_fn=list), line, dataset)
        dataset.close()
        shutil.rmtree(cold)

    def _pass(
        self, epoch: int, batches: Iterable[list[dict[str, Any]]], line: dict[str, Any],
        dataset: StreamingDataset | None = None,
    ) -> None:  # fmt: skip
        started = time.monotonic()
        order = Order(bytes(self.dataset.uri.root), self.config["seed"], epoch, self.parameters)
        seen: set[int] = set()
        wrong = doubled = misplaced = position = 0
        for batch in batches:
            for sample in batch:
                index = sample["__index__"]
                key, digest = self.reference[index]
                wrong += sample["__key__"] != key or hashlib.sha256(sample["jpg"]).hexdigest() != digest
                doubled += index in seen
                misplaced += position >= len(order) or index != order.sample_at(position)
                seen.add(index)
                position += 1
        if dataset is not None:
            line["blamed"] = {source.url: source.wrong for source in dataset.stats().sources if source.wrong}
        line |= {
            "epoch": epoch, "samples": position, "wrong": wrong, "doubled": doubled, "misplaced": misplaced,
            "missing": len(self.reference) - len(seen), "seconds": round(time.monotonic() - started, 3),
        }  # fmt: skip
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    Trainer(json.loads(Path(sys.argv[1]).read_text())).train()

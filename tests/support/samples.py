"""Collect what a loader delivers."""

from __future__ import annotations

import traceback
import warnings
from typing import Any

from torch.utils.data import DataLoader

from holdfast import StreamingDataset


def collect(
    dataset: StreamingDataset, workers: int = 0, method: str | None = None, batch: int = 4
) -> list[dict[str, Any]]:
    """Every sample of one pass through a plain torch DataLoader, in the order it delivers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader = DataLoader(
            dataset, batch_size=batch, num_workers=workers, collate_fn=list, multiprocessing_context=method
        )
        try:
            found = [sample for part in loader for sample in part]
        except Exception as error:
            traceback.clear_frames(
                error.__traceback__
            )  # they hold torch's iterator: 5 s for each worker when collected
            raise
    dataset.close()
    return found

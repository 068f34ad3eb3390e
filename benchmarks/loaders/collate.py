"""One collate for all loaders, and the sums that show they delivered the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from .job import SEQ_LEN

Batch = tuple[Any, Any]  # content; numbers of the samples, or None where the format has none
_STEP = 9973  # every so many bytes of an image are summed


def images(samples: Sequence[tuple[bytes, Any]]) -> Batch:
    """Bytes, or views of them, and numbers → uint8 [n, length], int64 [n]: one copy, whatever the loader gives."""
    content = np.stack([np.frombuffer(data, np.uint8) for data, _ in samples])
    return torch.from_numpy(content), torch.tensor([int(number) for _, number in samples])


def text(samples: Sequence[tuple[Any, Any]]) -> Batch:
    """Texts and numbers → list of str, int64 [n]."""
    texts = [one if isinstance(one, str) else one.decode() for one, _ in samples]
    return texts, torch.tensor([int(number) for _, number in samples])


def tokens(samples: Sequence[Any]) -> Batch:
    """Windows, as tensors, arrays or bytes of uint16 → int64 [n, SEQ_LEN + 1]."""
    if isinstance(samples[0], torch.Tensor):
        return torch.stack([one.to(torch.int64) for one in samples]), None
    rows = [np.frombuffer(one, np.uint16) if isinstance(one, bytes) else np.asarray(one) for one in samples]
    return torch.from_numpy(np.stack(rows).astype(np.int64)), None


def jpeg(samples: Sequence[tuple[torch.Tensor, Any]]) -> Batch:
    """Decoded pictures and numbers → float [n, 3, height, width], int64 [n]."""
    return torch.stack([picture for picture, _ in samples]), torch.tensor([int(number) for _, number in samples])


COLLATE: dict[str, Callable[[Sequence[Any]], Batch]] = {"images": images, "text": text, "tokens": tokens, "jpeg": jpeg}


class Sums:
    """What came, cheaply: less than a thousandth of a batch's bytes are looked at."""

    def __init__(self, corpus: str) -> None:
        self.samples = self.bytes = self.digest = 0
        self._corpus = corpus
        self._numbers: list[torch.Tensor] = []

    def add(self, batch: Batch) -> None:
        """Count one batch."""
        content, numbers = batch
        if numbers is not None:
            self._numbers.append(numbers)
        if self._corpus == "text":
            self.samples += len(content)
            self.bytes += sum(map(len, content))
            self.digest += sum(ord(one[len(one) // 2]) for one in content)
            return
        self.samples += content.shape[0]
        self.bytes += 2 * content.shape[0] * SEQ_LEN if self._corpus == "tokens" else content.numel()
        if self._corpus == "jpeg":
            content = (content[:, :, ::64, 0] * 255).round().to(torch.int64)
        self.digest += int(content[:, ::_STEP].sum() if self._corpus == "images" else content[:, ::512].sum())

    @property
    def distinct(self) -> int:
        """Different samples, by their numbers; tokens have none."""
        return len(torch.cat(self._numbers).unique()) if self._numbers else self.samples

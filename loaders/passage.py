"""`Passage`: one pass that a process makes, and how far it has come; `Terms`: what our loader says of it beforehand."""

from __future__ import annotations

from dataclasses import dataclass

from .share import Share
from .state import Dealt


@dataclass(frozen=True, slots=True)
class Terms:
    """What `DataLoader` says of a pass when it begins, to all of its workers."""

    epoch: int
    start: int
    batch_size: int
    holes: bool  # whether a sample that was left out comes as a hole


@dataclass(slots=True)
class Passage:
    """Of which epoch, from which position on, by whom; and how many of its own samples were consumed.

    Each iterator has its own: another one that begins meanwhile, over the same dataset, does not touch it.
    """

    epoch: int
    start: int
    dealt: Dealt
    taken: int = 0
    holes: bool = False

    def share(self, samples: int) -> Share:
        """What this process delivers of it, when an epoch has so many positions."""
        dealt = self.dealt
        return Share(
            samples, dealt.rank, dealt.world_size, dealt.worker, dealt.workers, dealt.batch_size, self.start, dealt.tail
        )

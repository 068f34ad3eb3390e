"""`Serving`: what every answer about content is made with."""

from __future__ import annotations

from dataclasses import dataclass

from ..blocks.disk import DiskStore
from .reads import Reads
from .refusals import Refusals
from .sending import Sender


@dataclass(frozen=True, slots=True)
class Serving:
    """The store, threads to read it in, the way out, and the words for errors."""

    store: DiskStore
    reads: Reads
    sender: Sender
    refusals: Refusals

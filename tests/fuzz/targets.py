"""Every parser of foreign bytes as a function of bytes, with its seeds: for Hypothesis and for the fuzzer.

A target may raise what its `errors` name and nothing else. Where there is an encoder, what was read is written again
and must give the same bytes.
"""

from __future__ import annotations

from . import chain_targets, content_targets, document_targets, loader_targets, name_targets, piece_targets  # noqa: F401 - they register theirs
from .target import TARGETS, Target, found_inputs

__all__ = ["TARGETS", "Target", "found_inputs"]

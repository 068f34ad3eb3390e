"""The order's parameters that suit a dataset: written into its head by the publisher, used by every reader."""

from __future__ import annotations

from .manifest import OrderHints

BLOCK_BYTES = 8 << 20
MAX_BLOCK_RUNS = 64
MAX_LANES = 64
MIN_LANE_BLOCKS = 16  # the block at a border of lanes is read for both: a sixteenth more at the worst


def suggest_hints(
    samples: int, run: int, sample_bytes: int, block_bytes: int = BLOCK_BYTES, at_hand_bytes: int | None = None
) -> OrderHints:
    """Parameters for a dataset whose samples have about `sample_bytes` bytes.

    A block holds about `block_bytes` in 1 to 64 runs: what a reader keeps at hand while it takes samples from it.
    Lanes are the largest power of two up to 64 that leaves each lane 16 blocks, and with which a reader of all lanes
    has no more than `at_hand_bytes` of blocks at hand; a small dataset has one.
    """
    block = max(1, min(MAX_BLOCK_RUNS, block_bytes // max(1, run * sample_bytes)))
    lanes = MAX_LANES
    if at_hand_bytes is not None:
        while lanes > 1 and lanes * block * run * sample_bytes > at_hand_bytes:
            lanes //= 2
    while lanes > 1 and samples // lanes < MIN_LANE_BLOCKS * block * run:
        lanes //= 2
    return OrderHints(run=run, block=block, lanes=lanes)

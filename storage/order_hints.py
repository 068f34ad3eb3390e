"""The order's parameters that suit a dataset: written into its head by the publisher, used by every reader."""

from __future__ import annotations

from .limits import DEFAULT_LEAF_BYTES
from .manifest import OrderHints

BLOCK_BYTES = 8 << 20
MAX_BLOCK_RUNS = 64
MAX_LANES = 64
MIN_STRETCH_LEAVES = 32  # at each of its ends a piece of a lane shares a leaf with another: a thirty-second more
MIN_LANE_RUNS = 32  # and at the ends of a lane a run, which may have to be read or decoded whole


def suggest_hints(
    samples: int,
    run: int,
    sample_bytes: int,
    block_bytes: int = BLOCK_BYTES,
    *,
    leaf_bytes: int = DEFAULT_LEAF_BYTES,
    at_hand_bytes: int | None = None,
    lanes: int | None = None,
) -> OrderHints:
    """Parameters for a dataset whose samples have about `sample_bytes` bytes.

    A block holds about `block_bytes` in 1 to 64 runs: what a reader keeps at hand while it takes samples from it.
    A stretch has 32 leaves or more. `lanes`: what the publisher wants; None: the largest power of two up to 64 that
    leaves each lane a stretch, two blocks and 32 runs, and with which a reader of all lanes has no more than
    `at_hand_bytes` of blocks at hand; a small dataset has one. Version 2 shares less between lanes; where there is one,
    version 1 does, which every reader knows.
    """
    run_bytes = max(1, run * sample_bytes)
    block = max(1, min(MAX_BLOCK_RUNS, block_bytes // run_bytes))
    stretch = -(-MIN_STRETCH_LEAVES * leaf_bytes // run_bytes)
    if lanes is None:
        lanes = MAX_LANES
        if at_hand_bytes is not None:
            while lanes > 1 and lanes * block * run_bytes > at_hand_bytes:
                lanes //= 2
        while lanes > 1 and samples // lanes < run * max(stretch, 2 * block, MIN_LANE_RUNS):
            lanes //= 2
    if lanes == 1:
        return OrderHints(version=1, run=run, block=block, lanes=1)
    return OrderHints(version=2, run=run, block=block, lanes=lanes, stretch=stretch)

"""Token shards: a stream of little-endian unsigned integers without a header."""

from __future__ import annotations

TOKEN_BYTES = {"uint16": 2, "uint32": 4}


def window_count(tokens: int, seq_len: int) -> int:
    """How many windows of `seq_len` + 1 tokens, `seq_len` apart, a stream of `tokens` holds."""
    return max(tokens - 1, 0) // seq_len

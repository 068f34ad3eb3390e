"""What can go wrong between verified bytes and a sample."""

from __future__ import annotations

from ..storage.errors import HoldfastError

NOT_THE_SAMPLES = (MemoryError, ImportError)  # that decoding it may end in: another machine may decode it


class SampleError(HoldfastError):
    """A sample cannot be built from its (verified) bytes: the publisher's data, or the decoder, is at fault.

    The message names shard and sample. Not raised for bytes that are wrong: those are never decoded.
    """

    kind = "sample"
    exit_code = 4

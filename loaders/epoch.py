"""What an epoch of a dataset is: how many samples, and the parameters of their order. Pure; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..storage.errors import ConfigError, FormatError
from ..storage.manifest import Head, Partition
from ..storage.shards.tokens import window_count
from .order_parameters import OrderParameters


@dataclass(frozen=True, slots=True)
class Epoch:
    """`first`: what is added to what the order yields, to get the number of a sample in the dataset."""

    parameters: OrderParameters
    first: int

    @classmethod
    def of(cls, head: Head, part: Partition, seq_len: int | None) -> Epoch:
        """An epoch of a dataset, or of one partition of it (docs/formats.md, §1). Raises `ConfigError` or
        `FormatError`.
        """
        if head.shard_format != "tokens":
            if seq_len is not None:
                raise ConfigError(
                    f"seq_len is for token datasets; this one is {head.shard_format}", hint="leave it out"
                )
            return cls(_parameters(head, part.samples, part), part.first_sample)
        if seq_len is None or seq_len < 1:
            raise ConfigError(f"a token dataset needs seq_len (got {seq_len})", hint="pass seq_len=2048, say")
        windows = window_count(part.samples, seq_len)
        if not windows:
            raise ConfigError(
                f"{part.samples} tokens hold no window of seq_len + 1 = {seq_len + 1}", hint="take a smaller seq_len"
            )
        return cls(_parameters(head, windows, part, seq_len), 0)


def _parameters(head: Head, samples: int, part: Partition, seq_len: int | None = None) -> OrderParameters:
    try:
        found = OrderParameters.of(head.order, samples)
        found = found if seq_len is None else found.of_windows(samples, seq_len)
    except ValueError as error:
        raise FormatError(f"the order of this dataset is not possible: {error}") from error
    return found if part.samples == head.samples else found.of_part()

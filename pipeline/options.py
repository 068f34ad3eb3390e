"""`PublishOptions`: what a publisher may choose, checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, get_args

from ..storage.errors import ConfigError
from ..storage.limits import DEFAULT_LEAF_BYTES, KIB, MAX_LEAF_BYTES, MIB, MIN_LEAF_BYTES
from ..storage.order_hints import BLOCK_BYTES

Format = Literal["auto", "tar", "parquet", "tokens", "tar.zst", "jsonl.zst", "arrow"]
Dtype = Literal["uint16", "uint32"]

DEFAULT_SHARD_BYTES = 64 * MIB
MIN_SHARD_BYTES, MAX_SHARD_BYTES = 16 * KIB, 16 * KIB * MIB
MAX_WORKERS = 1024
MAX_LANES = 1024  # that a head may say
MAX_TEXT_BYTES = 64 * KIB  # of title, description, licence, as JSON: the head has at most 1 MiB


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """Options that shape the dataset, and the number of workers, which does not."""

    name: str
    format: Format = "auto"
    leaf_size: int = DEFAULT_LEAF_BYTES
    shard_size: int = DEFAULT_SHARD_BYTES
    workers: int | None = None
    dtype: Dtype | None = None
    title: str = ""
    description: str = ""
    licence: str = ""
    shuffle_block: int = BLOCK_BYTES
    lanes: int | None = None

    def checked(self) -> PublishOptions:
        """These options, or a `ConfigError` that says which of them is wrong."""
        if not self.name or len(self.name.encode("utf-8", "replace")) > 255 or not self.name.isprintable():
            raise ConfigError(f"{self.name!r} cannot name a dataset", hint="give --name 1 to 255 printable characters")
        for text in (self.title, self.description, self.licence):
            if (
                len(json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")) - 2 > MAX_TEXT_BYTES
                or text.encode("utf-8", "replace").decode() != text
            ):
                raise ConfigError(f"{text[:40]!r}… cannot describe a dataset", hint="give UTF-8 text of at most 64 KiB")
        if self.format not in get_args(Format):
            raise ConfigError(f"unknown format {self.format!r}", hint=f"give one of {', '.join(get_args(Format))}")
        if not MIN_LEAF_BYTES <= self.leaf_size <= MAX_LEAF_BYTES or self.leaf_size % KIB:
            raise ConfigError(
                f"a leaf size of {self.leaf_size} bytes is not possible",
                hint="give --leaf-size 16KiB to 1MiB, a multiple of 1KiB",
            )
        if not MIN_SHARD_BYTES <= self.shard_size <= MAX_SHARD_BYTES:
            raise ConfigError(
                f"a shard size of {self.shard_size} bytes is not possible", hint="give --shard-size 16KiB to 16GiB"
            )
        if self.shuffle_block < 1:
            raise ConfigError(f"a shuffle block of {self.shuffle_block} bytes is not possible", hint="give 8MiB, say")
        if self.lanes is not None and not 1 <= self.lanes <= MAX_LANES:
            raise ConfigError(
                f"{self.lanes} lanes are not possible", hint=f"give --lanes 1 to {MAX_LANES}, or leave it out"
            )
        if self.workers is not None and not 1 <= self.workers <= MAX_WORKERS:
            raise ConfigError(f"{self.workers} workers are not possible", hint=f"give --workers 1 to {MAX_WORKERS}")
        if self.format == "tokens" and self.dtype is None:
            raise ConfigError(
                "the width of a token is not known, and never guessed", hint="give --dtype uint16 or --dtype uint32"
            )
        if self.dtype is not None and (self.format != "tokens" or self.dtype not in ("uint16", "uint32")):
            raise ConfigError(
                f"dtype {self.dtype!r} does not go with format {self.format}",
                hint="give --format tokens with --dtype uint16 or uint32",
            )
        return self

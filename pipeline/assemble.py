"""Assemble a dataset: head, manifest, README and Croissant around shards that are kept already."""

from __future__ import annotations

from collections.abc import Sequence

from ..storage.canonical import canonical_json
from ..storage.limits import KIB, MIB
from ..storage.manifest import (
    HEAD_PATH,
    PAGE_SHARDS,
    Head,
    OrderHints,
    Shard,
    ShardFormat,
    TokenFormat,
    Writer,
    encode_head,
    encode_pages,
    page_path,
    partitions_of,
)
from ..storage.order_hints import suggest_hints
from ..storage.shards.tokens import TOKEN_BYTES
from .croissant import croissant
from .options import PublishOptions
from .readme import readme

TOKEN_RUN = 131_072  # tokens of a run: 256 KiB of uint16. Divided by seq_len at read time, as the tokens are
# What a reader of all lanes has at hand: of parquet it lies decoded in its memory, text at three times its bytes, and
# what does not fit is decoded again for each sample (1.2 GB of text in 64 lanes: 800 samples a second; in 8: 81,000).
# Shards in zstd lie decompressed in the cache, at four times their bytes.
_AT_HAND_BYTES: dict[ShardFormat, int] = {"parquet": 64 * MIB, "tar.zst": 512 * MIB, "jsonl.zst": 512 * MIB}

_MAX_COLUMNS_BYTES = 256 * KIB  # of the head's 1 MiB: texts take up to 192 KiB, 256 partitions up to 400


def order_hints(
    format_: ShardFormat,
    shards: Sequence[Shard],
    rows_per_group: int,
    block_bytes: int,
    leaf_bytes: int,
    lanes: int | None = None,
) -> OrderHints:
    """The order's parameters: a run is about what one request fetches or one decode opens.

    Tar: samples of about 1 MiB; parquet, Arrow: one row group; shards that are decompressed whole: as many samples as
    one has; tokens: 131,072 tokens, of which readers make windows (`OrderParameters.of_windows`). `lanes`: what the
    publisher wants.
    """
    samples = sum(shard.samples for shard in shards)
    sample_bytes = _sample_bytes(sum(shard.bytes for shard in shards), samples)
    if format_ == "tokens":
        run = TOKEN_RUN
    elif format_ in ("tar.zst", "jsonl.zst"):
        run = max(1, samples // max(1, len(shards)))
    else:
        run = max(1, MIB // sample_bytes) if format_ == "tar" else rows_per_group
    at_hand_bytes = _AT_HAND_BYTES.get(format_)
    return suggest_hints(
        samples, run, sample_bytes, block_bytes, leaf_bytes=leaf_bytes, at_hand_bytes=at_hand_bytes, lanes=lanes
    )


def _sample_bytes(total_bytes: int, samples: int) -> int:
    return max(1, total_bytes // max(1, samples))


def make_head(
    format_: ShardFormat,
    shards: Sequence[Shard],
    columns: dict[str, str],
    rows_per_group: int,
    options: PublishOptions,
    writer: Writer | None,
) -> Head:
    """The head of these shards, which follow each other in the order of the manifest."""
    return Head(
        title=options.title,
        description=options.description,
        licence=options.licence,
        shard_format=format_,
        columns=_that_fit(columns),
        samples=sum(shard.samples for shard in shards),
        shards=len(shards),
        bytes=sum(shard.bytes for shard in shards),
        leaf_size=options.leaf_size,
        order=order_hints(format_, shards, rows_per_group, options.shuffle_block, options.leaf_size, options.lanes),
        partitions=partitions_of(shards),
        pages=tuple(shard.first_sample for shard in shards[::PAGE_SHARDS]),
        tokens=TokenFormat(dtype=options.dtype) if options.dtype in TOKEN_BYTES and options.dtype else None,
        writer=writer,
    )


def crowded(head: Head) -> str | None:
    """What to say of more lanes than suit a reader of all of them: the publisher chose their number."""
    most, order = _AT_HAND_BYTES.get(head.shard_format), head.order
    block_bytes = order.block * order.run * _sample_bytes(head.bytes, head.samples)
    at_hand_bytes = min(order.lanes * block_bytes, head.bytes)
    if most is None or order.lanes == 1 or at_hand_bytes <= most:
        return None
    fit = max(1, most // block_bytes)
    return (
        f"{order.lanes} lanes have {at_hand_bytes // MIB} MiB of {head.shard_format} at hand; a reader of all of them "
        f"keeps {most // MIB} MiB decoded, and decodes again for each sample (lanes that fit: {fit})"
    )


def _that_fit(columns: dict[str, str]) -> dict[str, str]:
    """The columns that the head lists: a name may be as long as a tar header lets it."""
    listed: dict[str, str] = {}
    used = 0
    for name, kind in columns.items():
        size = len(canonical_json([name, kind]))
        if used + size <= _MAX_COLUMNS_BYTES:
            listed[name] = kind
            used += size
    return listed


def documents(head: Head, shards: Sequence[Shard]) -> dict[str, bytes]:
    """The small files of a dataset by their paths. Raises `ConfigError` when no reader would take one of them."""
    encoded = encode_head(head)
    files = {HEAD_PATH: encoded, "README.md": readme(head), "croissant.json": croissant(head, encoded)}
    files.update((page_path(number), page) for number, page in enumerate(encode_pages(shards)))
    return files

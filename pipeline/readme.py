"""`README.md` of a dataset: for people who meet its folder. Generated from the head alone."""

from __future__ import annotations

from ..storage.manifest import Head

_UNITS = {"parquet": "rows", "arrow": "rows", "tokens": "tokens"}


def readme(head: Head) -> bytes:
    """The text; the root is not in it, for it is part of the root."""
    count = f"{head.samples:,} {_UNITS.get(head.shard_format, 'samples')}"
    lines = [f"# {head.title or 'Dataset'}", ""]
    if head.description:
        lines += [head.description, ""]
    lines += [
        f"* {count} in {head.shards:,} {head.shard_format} shards ({head.bytes:,} bytes), below `data/`",
        f"* partitions: {', '.join(partition.name for partition in head.partitions[:100])}",
    ]
    if head.licence:
        lines.append(f"* licence: {head.licence}")
    lines += [
        "",
        "Published with holdfast: `dataset.json` describes the dataset, `manifest/` lists its shards with their CIDs.",
        "The files are plain; the CID of this folder names exactly them.",
        "",
    ]
    return "\n".join(lines).encode()

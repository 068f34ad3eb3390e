"""For publishers: `publish`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..configs.sizes import format_size, parse_size
from .options import AsJson, Repo, repo_path
from .output import emit, progress
from .placing import Keepers, Origins, Wait, place_with, placed_document, placed_line, read_keepers

if TYPE_CHECKING:
    from ..pipeline.options import Dtype, Format


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(publish)


def publish(
    src: Annotated[Path, typer.Argument(help="The folder to publish. It is never written to.")],
    name: Annotated[str, typer.Option(help="What this repository calls the dataset.")],
    repo: Repo = None,
    format: Annotated[str, typer.Option(help="auto, tar, parquet, tokens, tar.zst, jsonl.zst or arrow.")] = "auto",  # noqa: A002
    dtype: Annotated[str | None, typer.Option(help="For tokens: uint16 or uint32. Never guessed.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that hash (all cores).")] = None,
    leaf_size: Annotated[str, typer.Option(help="16KiB to 1MiB. Small for random reads.")] = "1MiB",
    shard_size: Annotated[str, typer.Option(help="Of packed shards.")] = "64MiB",
    shuffle_block: Annotated[str, typer.Option(help="Bytes among which samples are shuffled one by one.")] = "8MiB",
    lanes: Annotated[
        int | None,
        typer.Option(min=1, help="Of the order: as many as ranks on machines of their own."),
    ] = None,
    title: str = "",
    description: str = "",
    licence: str = "",
    to: Annotated[
        Path | None, typer.Option("--to", metavar="ROSTER", help="Have every provider of this roster keep it.")
    ] = None,
    origins: Origins = None,
    wait: Wait = "1h",
    as_json: AsJson = False,
) -> None:
    """Hash a folder where it lies (or pack it), and keep its root in a repository; exit 1 if a provider does not."""
    from ..pipeline.publish import publish as run

    keepers = (
        read_keepers(to, wait) if to is not None else Keepers()
    )  # a bad roster is said before the work, not after it
    with progress("publishing") as update:
        result = run(
            src,
            name=name,
            repo=repo_path(repo),
            format=cast("Format", format),  # checked there
            dtype=cast("Dtype | None", dtype),
            workers=workers,
            leaf_size=parse_size(leaf_size),
            shard_size=parse_size(shard_size),
            shuffle_block=parse_size(shuffle_block),
            lanes=lanes,
            title=title,
            description=description,
            licence=licence,
            on_progress=lambda done: update(done.done_bytes, done.total_bytes),
        )
    placed = place_with(keepers, result.root, name, repo_path(repo), origins, wait)
    document = {
        "root": str(result.root),
        "uri": result.uri,
        "name": result.name,
        "samples": result.samples,
        "shards": result.shards,
        "bytes": result.bytes,
        "new_bytes": result.new_bytes,
        "seconds": round(result.seconds, 3),
        "pins": [placed_document(one) for one in placed],
        "skipped": [{"name": item, "reason": reason} for item, reason in result.skipped],
        "skipped_count": result.skipped_count,
        "warnings": list(result.warnings),
    }
    words = [
        f"{result.uri}",
        (
            f"  {result.samples} samples in {result.shards} shards, {format_size(result.bytes)}"
            f" ({format_size(result.new_bytes)} new), {result.seconds:.1f} s"
        ),
    ]
    words += [f"  warning: {warning}" for warning in result.warnings]
    if result.skipped_count:
        words.append(f"  {result.skipped_count} files or rows are not in it:")
        words += [f"    {item}: {reason}" for item, reason in result.skipped[:10]]
        if result.skipped_count > 10:
            words.append("    … (--json names the first 1000)")
    words += [f"  {placed_line(one)}" for one in placed]
    if not placed:
        words.append(f"  next: holdfast serve --repo {repo_path(repo)}")
    emit(document, as_json=as_json, words="\n".join(words))
    if any(one.failed or not one.kept for one in placed):
        raise typer.Exit(1)

"""`columns=`: which columns of a dataset somebody reads. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ..storage.errors import ConfigError
from ..storage.manifest import ShardFormat

_MAX_NAMED = 30


def checked_columns(columns: Sequence[str] | None) -> tuple[str, ...] | None:
    """The names, each once. Raises `ConfigError` for what is no list of names."""
    if columns is None:
        return None
    if (
        isinstance(columns, str)
        or not isinstance(columns, Sequence)
        or not columns
        or not all(isinstance(name, str) for name in columns)
    ):
        raise ConfigError(f"columns={columns!r}", hint="give a list of names, at least one, or leave it out for all")
    return tuple(dict.fromkeys(columns))


def check_columnar(columns: Sequence[str] | None, format_: ShardFormat) -> None:
    """Raises `ConfigError` when shards of this format have no columns. Which ones they have, only a shard says."""
    if columns is not None and format_ not in ("parquet", "arrow"):
        raise ConfigError(f"columns= is for parquet and Arrow shards; these are {format_}", hint="leave it out")


def check_columns(columns: Sequence[str] | None, names: Sequence[str], where: str) -> None:
    """Raises `ConfigError` when one of `columns` is none of `names`."""
    if columns is not None and (missing := [name for name in columns if name not in names]):
        listed = ", ".join(map(repr, names[:_MAX_NAMED])) + (", …" if len(names) > _MAX_NAMED else "")
        raise ConfigError(f"{where} has no column {missing[0]!r}", hint=f"columns= takes some of {listed}")

"""What the tables of a roster have in common: names of variables, and paths that begin at the roster's folder."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import ValidationInfo

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def variable(value: str | None) -> str | None:
    """The name of an environment variable. Raises `ValueError`, which never shows the value: it may be a secret."""
    if value is not None and not _ENV_NAME.fullmatch(value):
        raise ValueError("expected the name of an environment variable, not its value")
    return value


def path(value: object, info: ValidationInfo) -> object:
    """A path, from the folder of the roster on. Raises `ValueError`."""
    if value is None or isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("expected a path")
    folder = (info.context or {}).get("folder")
    return folder / value if folder else Path(value)

"""The demo's input: the source tree of the running Python's standard library, or any folder."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

from ..configs.errors import ConfigError

_NOT_SOURCE = ("__pycache__", "site-packages", "dist-packages", "lib-dynload", "config-*", "*.so", "*.pyc", ".*")


def corpus(path: Path | None, folder: Path) -> Path:
    """A folder of text. The standard library is copied to `folder` first, without compiled and installed files."""
    if path is not None:
        if not path.is_dir():
            raise ConfigError(
                f"{path} is not a folder", hint="name a folder of text, or nothing for the standard library"
            )
        return path
    source = Path(sysconfig.get_paths()["stdlib"])
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(*_NOT_SOURCE), symlinks=True)
    return folder

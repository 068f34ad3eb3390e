"""`Keys`: the private keys of a repository, one PEM file each, readable by its owner only.

A file begins with a line that names what the key moves, so that it can be listed without its passphrase; the line is
checked against the key whenever that is opened.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..blocks.atomic import sync_folder
from ..blocks.verified_file import disk_error
from ..errors import ConfigError
from .key import MAX_KEY_BYTES, PrivateKey
from .name import Name

_LABEL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}", re.ASCII)
_HEAD = "holdfast key "
_SUFFIX = ".pem"


@dataclass(frozen=True, slots=True, order=True)
class KeyFile:
    """A key as the list shows it."""

    label: str
    name: Name
    encrypted: bool


class Keys:
    """The folder `keys` of a repository. Methods raise `ConfigError` and `StoreError`; none shows a secret."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, label: str, key: PrivateKey, passphrase: bytes | None = None) -> KeyFile:
        """Keep a key, durably. Raises `ConfigError` where the label is taken."""
        path = self._path(label)
        text = f"{_HEAD}{key.name}\n".encode() + key.to_pem(passphrase)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except FileExistsError as error:
            raise ConfigError(f"there is a key {label!r} already", hint="choose another label") from error
        except OSError as error:
            raise disk_error(error, path) from error
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self.folder)
        except OSError as error:
            with suppress(OSError):
                path.unlink()
            raise disk_error(error, path) from error
        return KeyFile(label, key.name, passphrase is not None)

    def load(self, label: str, passphrase: bytes | None = None) -> PrivateKey:
        """Open a key. Raises `ConfigError` where there is none, others may read it, or the passphrase is wrong."""
        listed, pem = self._read(label)
        if listed.encrypted and passphrase is None:
            raise ConfigError(f"the key {label!r} has a passphrase", hint="give --passphrase-file FILE")
        try:
            key = PrivateKey.parse(pem, passphrase if listed.encrypted else None)
        except ConfigError as error:
            raise ConfigError(f"the key {label!r}: {error.message}", hint=error.hint) from error
        if key.name != listed.name:
            raise ConfigError(f"{self._path(label)} is damaged: it holds the key of another name")
        return key

    def ls(self) -> list[KeyFile]:
        """All keys, by label."""
        return sorted(self._listed())

    def find(self, text: str) -> KeyFile:
        """The key of a label or of a name. Raises `ConfigError` where there is none."""
        for key in self.ls():
            if text in (key.label, str(key.name)):
                return key
        raise ConfigError(f"there is no key {text!r} here", hint="`holdfast key gen LABEL` makes one")

    def _listed(self) -> Iterator[KeyFile]:
        if not self.folder.exists():
            return
        for path in self.folder.glob(f"*{_SUFFIX}"):
            yield self._read(path.name.removesuffix(_SUFFIX))[0]

    def _read(self, label: str) -> tuple[KeyFile, bytes]:
        path = self._path(label)
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                data = file.read(MAX_KEY_BYTES + 1)
        except FileNotFoundError as error:
            raise ConfigError(f"there is no key {label!r} here", hint="see `holdfast key ls`") from error
        except OSError as error:
            raise disk_error(error, path) from error
        if stat.S_IMODE(mode) & 0o077:
            raise ConfigError(f"others may read the key {path}", hint=f"chmod 600 {path}, or make a new one")
        head, _, pem = data.partition(b"\n")
        try:
            name = Name.parse(head.decode("ascii").removeprefix(_HEAD))
        except (UnicodeDecodeError, ConfigError) as error:
            raise ConfigError(f"{path} is damaged: its first line names no key") from error
        return KeyFile(label, name, b"ENCRYPTED" in pem.partition(b"\n")[0]), pem

    def _path(self, label: str) -> Path:
        if not _LABEL.fullmatch(label):
            raise ConfigError(
                f"{label[:80]!r} cannot be the label of a key", hint="letters, digits, . _ and -, at most 100"
            )
        return self.folder / f"{label}{_SUFFIX}"

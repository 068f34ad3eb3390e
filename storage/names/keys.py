"""`Keys`: the private keys of a repository, one PEM file each, readable by its owner only.

A file begins with a line that names what the key moves, so that it can be listed without its passphrase; the line is
checked against the key whenever that is opened.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
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
        """Keep a key, durably: whole, or not at all. Raises `ConfigError` where the label is taken."""
        path = self._path(label)
        text = f"{_HEAD}{key.name}\n".encode() + key.to_pem(passphrase)
        temporary = self.folder / f".{secrets.token_hex(8)}.tmp"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_secret(temporary, text)
            try:
                path.hardlink_to(temporary)  # unlike a rename, it replaces nothing
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(self.folder)
        except FileExistsError as error:
            raise ConfigError(f"there is a key {label!r} already", hint="choose another label") from error
        except OSError as error:
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
            raise ConfigError(
                f"{self._path(label)} is damaged: it holds the key of another name", hint="put a copy of the key there"
            )
        return key

    def ls(self) -> tuple[list[KeyFile], list[str]]:
        """All keys, by label; and what is wrong with files that cannot be read as one."""
        found, problems = [], []
        paths = sorted(self.folder.glob(f"*{_SUFFIX}")) if self.folder.exists() else []
        for path in paths:
            label = path.name.removesuffix(_SUFFIX)
            if not _LABEL.fullmatch(label):
                continue  # nothing of ours
            try:
                found.append(self._read(label)[0])
            except ConfigError as error:
                problems.append(error.message)
        return found, problems

    def find(self, text: str) -> KeyFile:
        """The key of a label or of a name. Raises `ConfigError` where there is none."""
        if _LABEL.fullmatch(text) and self._path(text).exists():
            return self._read(text)[0]
        for key in self.ls()[0]:
            if text == str(key.name):
                return key
        raise ConfigError(f"there is no key {text!r} here", hint="`holdfast key gen LABEL` makes one")

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
            raise ConfigError(
                f"{path} is damaged: its first line names no key", hint="put a copy of the key there, or remove it"
            ) from error
        return KeyFile(label, name, b"ENCRYPTED" in pem.partition(b"\n")[0]), pem

    def _path(self, label: str) -> Path:
        if not _LABEL.fullmatch(label):
            raise ConfigError(
                f"{label[:80]!r} cannot be the label of a key", hint="letters, digits, . _ and -, at most 100"
            )
        return self.folder / f"{label}{_SUFFIX}"


def write_secret(path: Path, data: bytes) -> None:
    """A new file that only its owner may read, durable; nothing is left of one that could not be written whole.

    Raises `OSError`; `FileExistsError` where something is there already.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise

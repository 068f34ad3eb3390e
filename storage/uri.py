"""URIs of datasets: `ipfs://CID[/path]`, `ipns://NAME[/path]`, or a bare CID or name."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from .cid import CID, LIBP2P_KEY
from .errors import ConfigError, FormatError


@dataclass(frozen=True, slots=True)
class NameUri:
    """A name as it was written, and a path below what it points at."""

    name: str
    path: str = ""

    def __str__(self) -> str:
        return f"ipns://{self.name}" + (f"/{self.path}" if self.path else "")


@dataclass(frozen=True, slots=True)
class DatasetUri:
    """A root, and a path below it ("" for the root itself)."""

    root: CID
    path: str = ""

    @classmethod
    def read(cls, text: str) -> DatasetUri | NameUri:
        """Read what the user typed. Raises `ConfigError`. A name is not looked up: see `names.follow`."""
        named = text.startswith(("ipns://", "/ipns/"))
        head, _, path = text.removeprefix("ipfs://").removeprefix("/ipfs/").removeprefix("ipns://").removeprefix(
            "/ipns/"
        ).partition("/")  # fmt: skip
        path = unquote(path).strip("/")
        if named:
            return NameUri(head, path)
        try:
            root = CID.parse(head)
        except FormatError as error:
            raise ConfigError(
                f"{text!r} is not a dataset: {error.message}",
                hint="give ipfs://CID, as `holdfast publish` printed it",
            ) from error
        return NameUri(head, path) if root.codec == LIBP2P_KEY else cls(root.v1(), path)

    @classmethod
    def parse(cls, text: str) -> DatasetUri:
        """Read the URI of a root. Raises `ConfigError`, also for a name: one thing is meant here, whoever moves it."""
        found = cls.read(text)
        if isinstance(found, NameUri):
            raise ConfigError(
                f"{text} is a name, and may point elsewhere tomorrow",
                hint=f"give the root it points at now: holdfast name resolve {found.name}",
            )
        return found

    def __str__(self) -> str:
        return f"ipfs://{self.root}" + (f"/{self.path}" if self.path else "")

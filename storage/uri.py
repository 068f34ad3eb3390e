"""URIs of datasets: `ipfs://CID[/path]`, `ipns://NAME[/path]`, or a bare CID."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from .cid import CID, LIBP2P_KEY
from .errors import ConfigError, FormatError


@dataclass(frozen=True, slots=True)
class DatasetUri:
    """A root, and a path below it ("" for the root itself)."""

    root: CID
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> DatasetUri:
        """Read what the user typed. Raises `ConfigError`."""
        rest = text.removeprefix("ipfs://").removeprefix("/ipfs/")
        if text.startswith("ipns://"):
            raise ConfigError(f"{text}: names are not resolved by this version", hint="give the root: ipfs://bafy…")
        head, _, path = rest.partition("/")
        try:
            root = CID.parse(head)
        except FormatError as error:
            raise ConfigError(
                f"{text!r} is not a dataset: {error.message}",
                hint="give ipfs://CID, as `holdfast publish` printed it",
            ) from error
        if root.codec == LIBP2P_KEY:
            raise ConfigError(f"{text!r} is a name, not a dataset", hint="give the root: ipfs://bafy…")
        return cls(root.v1(), unquote(path).strip("/"))

    def __str__(self) -> str:
        return f"ipfs://{self.root}" + (f"/{self.path}" if self.path else "")

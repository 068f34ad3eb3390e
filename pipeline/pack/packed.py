"""What a publish has packed already: so that one that was killed goes on, and what has not changed is not packed again.

A shard's key is a digest of everything that shapes its bytes: the packer's version, the options, and the files that
go into it with their stamps. The catalogue of the repository says which of its files each key became.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..detect import SourceFile
from ..facts import Facts
from ..keeper import Keeper, Known


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed shard. `known`: it was there already. `key`: None when it cannot be told again. `facts`: if the packer
    knows them, which spares reading it.
    """

    path: Path
    key: bytes | None = None
    known: Known | None = None
    facts: Facts | None = None


Lookup = Callable[[bytes], Packed | None]


def shard_key(source: Path, files: Iterable[SourceFile], *shape: object) -> bytes | None:
    """The key of what `files` below `source` become under `shape` (texts and numbers: writer, options).

    None while a file is so young that it could change without its stamp showing it.
    """
    digest = hashlib.sha256(json.dumps([os.fsdecode(source.resolve()), *shape]).encode())
    for file in files:
        if file.stamp is None:
            return None
        digest.update(file.stamp + file.name.encode() + b"\0")
    return digest.digest()


def packed_before(keeper: Keeper, key: bytes) -> Packed | None:
    """The shard that an earlier publish made of the same, if its file is still as it was."""
    known = keeper.noted(key)
    return Packed(known.row.path, key, known) if known else None

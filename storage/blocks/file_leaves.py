"""`Leaves`: what the leaf index says, by file; it is sorted by digest, so that this takes a look at all of it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import StoreError
from .disk import DiskStore

Leaf = tuple[bytes, int]  # digest and length


@dataclass(frozen=True, slots=True)
class Places:
    """The leaves of a file by offset. `others`: where two entries name one place, those behind the first."""

    leaves: dict[int, Leaf] = field(default_factory=dict)
    others: dict[int, list[Leaf]] = field(default_factory=dict)

    def at(self, offset: int) -> list[Leaf]:
        """Everything that is said of a place: it is right when one of them is, for the others are never served."""
        return [self.leaves[offset], *self.others.get(offset, ())] if offset in self.leaves else []


class Leaves:
    """What the leaf index says of each file. Eight bytes of memory a leaf; the segments stay mapped."""

    def __init__(self) -> None:
        self._segments: list[
            tuple[npt.NDArray[np.bytes_], npt.NDArray[np.void], npt.NDArray[np.uint32], npt.NDArray[np.uint32]]
        ] = []
        self._names: set[str] = set()
        self._newest = 0

    def read(self, store: DiskStore, damaged: Collection[Path] = ()) -> Iterator[tuple[os.PathLike[str], str]]:
        """Read all segments; yields those that are broken. `damaged`: those that are not what was written."""
        self._names = _listed(store)
        for path in sorted(store.leaves.folder / name for name in self._names):
            try:
                keys, references = store.leaves.table(path)
            except FileNotFoundError:
                continue
            except StoreError as error:
                yield path, error.message
                continue
            if len(keys) > 1 and not bool((keys[1:] >= keys[:-1]).all()):
                yield path, "its digests are not in order: look-ups fail"
            order = np.argsort(references["file"], kind="stable").astype(np.uint32)
            files = np.ascontiguousarray(references["file"][order])
            self._segments.append((keys, references, order, files))
            if len(files) and "-" in path.stem and path not in damaged:
                self._newest = max(self._newest, int(files[-1]))

    def changed(self, store: DiskStore) -> bool:
        """Whether segments came or went since they were read."""
        return self._names != _listed(store)

    def newest(self) -> int:
        """The highest id of a file that is named by a segment whose digest is right; 0 when there is none.

        Others may name a file that never was. Segments of the first versions have no digest.
        """
        return self._newest

    def of(self, file_id: int) -> Places:
        """The leaves of one file."""
        found = Places()
        for keys, references, order, files in self._segments:
            start, end = (int(np.searchsorted(files, np.uint32(file_id), side)) for side in ("left", "right"))
            for at in order[start:end].tolist():
                entry = references[at]
                offset, leaf = int(entry["offset"]), (keys[at : at + 1].tobytes(), int(entry["length"]))
                if found.leaves.setdefault(offset, leaf) != leaf:
                    found.others.setdefault(offset, []).append(leaf)
        return found


def _listed(store: DiskStore) -> set[str]:
    return {path.name for path in store.leaves.folder.glob("*.leaves")}

"""CAR files and a repository: a DAG out of it, deterministically; blocks into it, each hashed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..cid import CID, RAW, SHA2_256_PREFIX
from ..dag import walk
from ..dag.car import CarReader, encode_header, encode_section
from ..errors import BlockMissingError, ConfigError, FormatError, HashMismatchError
from .disk import DiskStore
from .verified_file import disk_error


@dataclass(frozen=True, slots=True)
class CarSummary:
    """What was written or read. `missing`: the first block that a root leads to and that is nowhere, if any."""

    roots: tuple[CID, ...]
    blocks: int
    bytes: int
    missing: CID | None = None


def export_car(store: DiskStore, root: CID, path: Path) -> CarSummary:
    """Write the whole DAG of `root` as CARv1, depth first, each block once: the same bytes every time.

    Written beside `path` and renamed at the end. Raises `BlockMissingError`, `FileChangedError`, `StoreError`.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    blocks = written = 0
    try:
        with temporary.open("wb") as out:
            written += out.write(encode_header([root]))
            steps = walk.dag_order(root, "all")
            data = b""
            cid = next(steps, None)
            while cid is not None:
                data = store.get(cid).data
                written += out.write(encode_section(cid, data))
                blocks += 1
                try:
                    cid = steps.send(b"" if cid.codec == RAW else data)
                except StopIteration:
                    cid = None
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)
    return CarSummary((root,), blocks, written)


class _Copy:
    """Reads from one stream and keeps what was read in a file."""

    def __init__(self, stream: BinaryIO, copy: BinaryIO) -> None:
        self._stream, self._copy = stream, copy
        self.bytes = 0

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        self._copy.write(data)
        self.bytes += len(data)
        return data


def import_car(store: DiskStore, path: Path) -> CarSummary:
    """Copy a CAR into the repository and refer to its blocks, each hashed on the way.

    Raises `ConfigError` (no such file), `FormatError` (cut or malformed) or `HashMismatchError`, with file and byte;
    nothing is kept then.
    """
    target = store.new_file(".car")
    sections: list[tuple[CID, int, int]] = []
    try:
        try:
            stream = path.open("rb")
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="check the path") from error
        with stream, target.open("wb") as out:
            copy = _Copy(stream, out)
            reader = CarReader(copy)
            roots = reader.roots
            for section in reader.sections():
                sections.append((section.block.cid, section.data_offset, len(section.block.data)))
                if section.block.cid.multihash[:2] != SHA2_256_PREFIX:
                    store.put(section.block.cid, section.block.data)
            out.flush()
            os.fsync(out.fileno())
        if not roots:
            raise FormatError("the CAR names no root")
        store.adopt_car(target, roots[0], sections)
    except OSError as error:
        target.unlink(missing_ok=True)
        raise disk_error(error, target) from error
    except (FormatError, HashMismatchError) as error:
        target.unlink(missing_ok=True)
        raise type(error)(f"{path}: {error.message}", hint=error.hint or "get the CAR again") from error
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    missing = next((cid for root in roots if (cid := first_missing(store, root)) is not None), None)
    return CarSummary(roots, len(sections), copy.bytes, missing)


def first_missing(store: DiskStore, root: CID) -> CID | None:
    """The first block below `root`, in CAR order, that the store does not hold; None when the DAG is complete."""
    steps = walk.dag_order(root, "all")
    cid = next(steps, None)
    while cid is not None:
        if cid.codec == RAW:
            if not store.has(cid):
                return cid
            data = b""
        else:
            try:
                data = store.get(cid).data
            except BlockMissingError:
                return cid
        try:
            cid = steps.send(data)
        except StopIteration:
            return None
    return None

"""Names of directory entries: one segment of a path, the same on every system."""

from __future__ import annotations

from ..errors import FormatError
from ..limits import MAX_NAME_BYTES, MAX_PATH_BYTES


def name_bytes(name: str) -> bytes:
    """The UTF-8 of one path segment. Raises `FormatError` for what no file may be called.

    Names come from foreign directories too and end as paths on our disk, which they must not escape (UnixFS
    specification, "Path resolution").
    """
    try:
        raw = name.encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"the name {name!r} is not UTF-8") from error
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise FormatError(f"{name!r} is not a file name")
    if len(raw) > MAX_NAME_BYTES:
        raise FormatError(f"the name {name[:32]!r}… has {len(raw)} bytes (at most {MAX_NAME_BYTES})")
    return raw


def split_path(path: str) -> tuple[str, ...]:
    """The segments of a relative POSIX path, each checked by `name_bytes`."""
    if len(path) > MAX_PATH_BYTES:
        raise FormatError(f"the path {path[:32]!r}… has {len(path)} characters (at most {MAX_PATH_BYTES} bytes)")
    segments = tuple(path.split("/"))
    if sum(len(name_bytes(segment)) + 1 for segment in segments) - 1 > MAX_PATH_BYTES:
        raise FormatError(f"the path {path[:32]!r}… has more than {MAX_PATH_BYTES} bytes")
    return segments

"""Detect how a folder is published, from its names and sizes alone. Pure.

Each file is of one kind by its suffix. With `auto` the kind with most bytes wins; files of other kinds are named.
A folder of shards (tar, parquet, tokens, tar.zst, Arrow files) is published as it lies, and so is .jsonl.zst when that
is asked for; anything else is packed:

* `loose`: files that share a stem, one of them an image, sound, video or array, by the WebDataset rule → tar;
* `jsonl`, `csv`: a row a line → parquet;
* `text`: every file that is UTF-8, whatever it is called → parquet, with a row a file.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Literal, NamedTuple

from ..storage.errors import ConfigError
from ..storage.manifest import ShardFormat, check_path
from ..storage.shards.tar import RESERVED, split_name
from .options import Format

Kind = Literal["tar", "parquet", "tokens", "tar.zst", "jsonl.zst", "arrow", "loose", "jsonl", "csv", "text"]
SHARD_FORMAT: dict[Kind, ShardFormat] = {
    "tar": "tar", "parquet": "parquet", "tokens": "tokens", "loose": "tar", "jsonl": "parquet", "csv": "parquet",
    "text": "parquet", "tar.zst": "tar.zst", "jsonl.zst": "jsonl.zst", "arrow": "arrow",
}  # fmt: skip
AS_IT_LIES: frozenset[Kind] = frozenset({"tar", "parquet", "tokens", "tar.zst", "jsonl.zst", "arrow"})
_ALLOWED: dict[Format, tuple[Kind, ...]] = {
    "auto": ("tar", "parquet", "tokens", "tar.zst", "arrow", "loose", "jsonl", "csv", "text"),
    "tar": ("tar", "loose"),
    "parquet": ("parquet", "jsonl", "csv", "text"),
    "tokens": ("tokens",),
    "tar.zst": ("tar.zst",),
    "jsonl.zst": ("jsonl.zst",),
    "arrow": ("arrow",),
}

_TOKENS = (".bin", ".ds", ".npy")
_JSONL = (".jsonl", ".ndjson")
_COMPRESSED = ("", ".gz", ".zst")
_ARROW = (".arrow", ".feather")
_ARCHIVES = (".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2", ".zip", ".7z", ".rar")
_TWO_PART = frozenset((".gz", ".zst", ".xz", ".bz2"))
MEDIA = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".bmp", ".tif", ".tiff", ".npy", ".npz")
    + (".mp3", ".wav", ".flac", ".ogg", ".opus", ".m4a", ".mp4", ".webm", ".mkv", ".avi", ".mov")
)
_BINARY = frozenset(
    (".pyc", ".so", ".dll", ".exe", ".o", ".a", ".whl", ".jar", ".pdf", ".pkl", ".pickle", ".pt", ".pth", ".ckpt")
    + (".safetensors", ".onnx", ".h5", ".hdf5", ".lmdb", ".mdb", ".db", ".sqlite")
)  # does not weigh in the choice
LABELS = frozenset((".json", ".txt", ".cls", ".cls2", ".index", ".id", ".inx", ".caption"))


_STAMP = struct.Struct("<qqqQ").pack  # size, times, inode


def stamp_of(about: os.stat_result) -> bytes:
    """The stamp of a `SourceFile`."""
    return _STAMP(about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino)


class SourceFile(NamedTuple):
    """A file of the source: its relative POSIX path and its size in bytes.

    `stamp`: as it was found, in few bytes: there may be millions; None when a change could leave it as it is.
    """

    name: str
    size: int
    stamp: bytes | None = None


@dataclass(frozen=True, slots=True)
class Detected:
    """How to publish: the kind, its files in order, and what is left out, with reasons.

    For `loose`, the files of a sample follow each other.
    """

    kind: Kind
    files: tuple[SourceFile, ...]
    left_out: tuple[tuple[str, str], ...]


def detect(files: list[SourceFile], format_: Format) -> Detected:
    """Choose the kind and its files. Raises `ConfigError` when no file can be a sample."""
    media = any(_suffix(file.name) in MEDIA for file in files)
    known: dict[str, Kind | None] = {}  # by suffix, where no other part of the name matters
    kinds: list[Kind | None] = []
    for file in files:
        suffix = _suffix(file.name)
        if suffix in _TWO_PART:
            kinds.append(_kind(file.name, format_, media=media))
            continue
        if suffix not in known:
            known[suffix] = _kind(file.name, format_, media=media)
        kinds.append(known[suffix])
    weights: Counter[Kind | None] = Counter()
    for file, kind in zip(files, kinds, strict=True):
        weights[kind] += file.size + 1  # empty files count too
    weight = {kind: weights[kind] for kind in _ALLOWED[format_] if kind in weights}
    if not weight:
        raise _nothing(files, format_)
    chosen = max(weight, key=lambda each: (weight[each], each))
    if chosen == "tokens" and format_ == "auto":
        raise ConfigError(
            f"{files[kinds.index('tokens')].name!r} may hold tokens of any width",
            hint="give --format tokens --dtype uint16 (or uint32)",
        )
    return _chosen(chosen, files, kinds, format_)


def _chosen(kind: Kind, files: list[SourceFile], kinds: list[Kind | None], format_: Format) -> Detected:
    chosen: list[SourceFile] = []
    left_out: list[tuple[str, str]] = []
    for file, each in zip(files, kinds, strict=True):
        if each == kind == "loose":
            chosen.append(file)
        elif reason := _refusal(file, each, kind):
            left_out.append((file.name, reason))
        else:
            chosen.append(file)
    if kind == "loose":
        chosen = _group(chosen, left_out, need_media=format_ == "auto")
    if not chosen:
        raise _nothing(files, format_, left_out)
    return Detected(kind, tuple(chosen), tuple(left_out))


def _refusal(file: SourceFile, kind: Kind | None, chosen: Kind) -> str:
    if kind is None and file.name.lower().endswith(_ARCHIVES):
        return "a compressed archive: unpack it first"
    if chosen == "text" and kind not in AS_IT_LIES - {"tokens"}:
        return ""  # whether it is text, its bytes say
    if kind != chosen:
        return f"not a file of a {_WORDS[chosen]} dataset"
    if kind in AS_IT_LIES:
        if not file.size:
            return "empty"
        try:
            check_path(f"index/{file.name}.idx")
        except ValueError as error:
            return str(error)
    return ""


_WORDS: dict[Kind, str] = {
    "tar": "tar", "parquet": "parquet", "tokens": "token", "loose": "loose-file", "jsonl": "JSONL", "csv": "CSV",
    "text": "text", "tar.zst": "tar.zst", "jsonl.zst": "jsonl.zst", "arrow": "Arrow",
}  # fmt: skip


def _kind(name: str, format_: Format, *, media: bool) -> Kind | None:
    lower, suffix = name.lower(), _suffix(name)
    if format_ in ("tar.zst", "jsonl.zst", "arrow"):
        return _in_place(lower, suffix, format_)
    if format_ == "auto" and lower.endswith(".tar.zst"):
        return "tar.zst"
    if lower.endswith(_ARCHIVES):
        return None
    if format_ == "tokens":
        return "tokens" if suffix in _TOKENS else None
    if suffix == ".tar":
        return "tar"
    if format_ == "tar":
        return "loose"
    if suffix == ".parquet":
        return "parquet"
    if lower.endswith(tuple(stem + end for stem in _JSONL for end in _COMPRESSED)):
        return "jsonl"
    if lower.endswith(tuple(".csv" + end for end in _COMPRESSED)):
        return "csv"
    if format_ == "parquet":
        return "text"
    if suffix in _ARROW:
        return "arrow"
    if suffix in MEDIA or (media and suffix in LABELS):
        return "loose"
    if suffix in _BINARY:
        return None
    return "tokens" if suffix in _TOKENS else "text"


def _in_place(lower: str, suffix: str, format_: Literal["tar.zst", "jsonl.zst", "arrow"]) -> Kind | None:
    ends = {"tar.zst": (".tar.zst",), "jsonl.zst": tuple(stem + ".zst" for stem in _JSONL), "arrow": _ARROW}
    return format_ if lower.endswith(ends[format_]) and suffix else None


def _group(files: list[SourceFile], left_out: list[tuple[str, str]], *, need_media: bool) -> list[SourceFile]:
    """Files in the order of their keys; those that make no sample are moved to `left_out`."""
    keyed: list[
        tuple[str, str, int]
    ] = []  # no objects of ours: the garbage collector would look at each again and again
    for number, file in enumerate(files):
        parts = split_name(file.name)
        if parts is None:
            left_out.append((file.name, "a name without extension is no member of a sample"))
        elif parts[1] in RESERVED:
            left_out.append((file.name, f"{parts[1]} is a key of holdfast's own"))
        else:
            keyed.append((*parts, number))
    keyed.sort()  # texts sort as their UTF-8 does
    media: dict[str, bool] = {}  # by extension
    grouped: list[SourceFile] = []
    for _, members in groupby(keyed, key=itemgetter(0)):
        sample = list(members)
        if need_media and not any(_is_media(extension, media) for _, extension, _ in sample):
            reason = "a label without an image, sound or array of its stem"
            left_out += [(files[number].name, reason) for _, _, number in sample]
        else:
            grouped += [files[number] for _, _, number in sample]
    return grouped


def _is_media(extension: str, known: dict[str, bool]) -> bool:
    """Of what follows the first dot of a name, the last suffix decides."""
    if extension not in known:
        known[extension] = _suffix(f"a.{extension}") in MEDIA
    return known[extension]


def _suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return dot + suffix.lower() if stem else ""


def _unfit(name: str, format_: Format) -> str:
    if name.lower().endswith(_ARCHIVES):
        return "a compressed archive: unpack it first"
    return "neither a shard, nor media, rows or text" if format_ == "auto" else f"does not fit --format {format_}"


def _nothing(files: list[SourceFile], format_: Format, left_out: list[tuple[str, str]] | None = None) -> ConfigError:
    if not files:
        return ConfigError("the folder holds no file that can be published", hint="put shards or samples into it")
    name, reason = left_out[0] if left_out else (files[0].name, _unfit(files[0].name, format_))
    return ConfigError(
        f"none of {len(files)} files can be a sample; the first, {name!r}: {reason}",
        hint="see the formats that `holdfast publish --help` lists",
    )

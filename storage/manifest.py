"""The head (`dataset.json`) and the manifest (`manifest/00000.jsonl` …) of a dataset: what its shards are.

Pure: bytes in, typed values out. The rules, checked in this order:

* the head is at most 1 MiB of canonical JSON, of format `holdfast-dataset` and a major version that we know;
* a page has at most 8 MiB and 4,096 lines, and every page but the last exactly that many;
* shards follow each other without gap: `first_sample` of a line is the sum of the samples before it;
* paths are relative, without `.`, `..`, backslash, NUL or empty segments, and lie under `data/` or `index/`.

What breaks a limit on bytes is not encoded either (`ConfigError`).
Unknown keys are ignored: they belong to a newer minor version.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from .canonical import canonical_json
from .cid import CID
from .errors import ConfigError, FormatError, UnsupportedError
from .limits import MAX_HEAD_BYTES, MAX_MANIFEST_PAGE_BYTES, MAX_NAME_BYTES, MAX_PATH_BYTES

FORMAT = "holdfast-dataset"
MAJOR = 1
ORDER_VERSION = 2
PAGE_SHARDS = 4096
HEAD_PATH = "dataset.json"
DEFAULT_PARTITION = "default"
MAX_PARTITIONS = 256  # that a publisher makes: with names of 255 bytes they stay below half of the head's limit
_SHORTER_NAMES = "give the shards shorter names"

Count = Annotated[int, Field(ge=0, lt=1 << 63)]
ShardFormat = Literal["tar", "parquet", "tokens", "tar.zst", "jsonl.zst", "arrow"]


def check_path(path: str) -> str:
    """A relative path that means the same on every system; raises `ValueError`."""
    parts = path.split("/")
    if len(path.encode()) > MAX_PATH_BYTES or any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise ValueError(f"path is too long: {path[:80]!r}…")
    if any(part in ("", ".", "..") for part in parts) or "\\" in path or "\0" in path:
        raise ValueError(f"not a plain relative path: {path!r}")
    return path


def _check_cid(text: str) -> str:
    try:
        CID.parse(text)
    except FormatError as error:
        raise ValueError(str(error)) from error
    return text


RelativePath = Annotated[str, AfterValidator(check_path)]
CidText = Annotated[str, AfterValidator(_check_cid)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


_M = TypeVar("_M", bound=_Model)


class IndexFile(_Model):
    """The file that says where the samples of a shard start."""

    path: RelativePath
    cid: CidText
    bytes: Count


class Shard(_Model):
    """One file of samples. `samples` counts tokens in a token dataset."""

    path: RelativePath
    cid: CidText
    bytes: Count
    samples: Count
    first_sample: Count
    partition: str = DEFAULT_PARTITION
    index: IndexFile | None = None

    @property
    def name(self) -> str:
        """The path's last segment."""
        return PurePosixPath(self.path).name


class OrderHints(_Model):
    """Parameters of the order (docs/order.md): its rule, samples per run, runs per block, lanes; in version 2 runs per
    stretch.
    """

    version: Literal[1, 2] = 1
    run: Annotated[int, Field(ge=1, lt=1 << 40)]
    block: Annotated[int, Field(ge=1, lt=1 << 20)]
    lanes: Annotated[int, Field(ge=1, le=1024)]
    stretch: Annotated[int, Field(ge=1, lt=1 << 40)] | None = None

    @model_validator(mode="after")
    def _stretch_of_version(self) -> Self:
        if self.version == 2 and self.stretch is None:
            raise ValueError("an order of version 2 has a stretch")
        return self


class TokenFormat(_Model):
    """How a token shard spells a token: little-endian unsigned integers, no header."""

    dtype: Literal["uint16", "uint32"]
    tokenizer_sha256: str | None = None


class Writer(_Model):
    """What packed the shards: their bytes differ between versions of it."""

    library: str
    version: str


class Partition(_Model):
    """A named part of the dataset: a contiguous range of samples."""

    name: str
    first_sample: Count
    samples: Count


class Head(_Model):
    """`dataset.json`."""

    format: Literal["holdfast-dataset"] = "holdfast-dataset"
    version: tuple[int, int] = (MAJOR, 0)
    title: str = ""
    description: str = ""
    licence: str = ""
    shard_format: ShardFormat
    columns: dict[str, str] = Field(default_factory=dict)
    samples: Count
    shards: Count
    bytes: Count
    leaf_size: Annotated[int, Field(ge=1, le=1 << 20)]
    order: OrderHints
    partitions: tuple[Partition, ...] = ()
    pages: tuple[Count, ...] = ()
    tokens: TokenFormat | None = None
    writer: Writer | None = None


def encode_head(head: Head) -> bytes:
    """The bytes of `dataset.json`. Raises `ConfigError` when `decode_head` would find them too many."""
    data = canonical_json(head.model_dump(mode="json", exclude_none=True))
    return _within(data, MAX_HEAD_BYTES, HEAD_PATH, "give shorter texts, or fewer partitions or columns")


def decode_head(data: bytes) -> Head:
    """Raises `FormatError`, or `UnsupportedError` for a newer major version."""
    document = _json(data, MAX_HEAD_BYTES, HEAD_PATH)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise FormatError(f"{HEAD_PATH} is not a holdfast dataset", hint="was this root published by holdfast?")
    version = document.get("version")
    if isinstance(version, list) and version and isinstance(version[0], int) and version[0] > MAJOR:
        raise UnsupportedError(
            f"{HEAD_PATH} has format version {version[0]}, this holdfast reads up to {MAJOR}",
            hint="upgrade holdfast",
        )
    order = document.get("order")
    if isinstance(order, dict) and isinstance(order.get("version"), int) and order["version"] > ORDER_VERSION:
        raise UnsupportedError(
            f"{HEAD_PATH} has an order of version {order['version']}, this holdfast reads up to {ORDER_VERSION}",
            hint="upgrade holdfast",
        )
    return _validate(Head, document, HEAD_PATH)


def page_path(page: int) -> str:
    """Where manifest page `page` lies in the dataset."""
    return f"manifest/{page:05d}.jsonl"


def encode_pages(shards: Sequence[Shard]) -> list[bytes]:
    """The manifest pages of these shards, in order. Raises `ConfigError` when `decode_page` would refuse one."""
    lines = [canonical_json(shard.model_dump(mode="json", exclude_none=True)) for shard in shards]
    pages = [b"".join(lines[at : at + PAGE_SHARDS]) for at in range(0, len(lines), PAGE_SHARDS)]
    for number, page in enumerate(pages):
        _within(page, MAX_MANIFEST_PAGE_BYTES, page_path(number), _SHORTER_NAMES)
    return pages


def check_page_names(names: Sequence[str], *, indexed: bool) -> None:
    """Raise `ConfigError` when the names of shards (`indexed`: and of their index files) alone overfill a page.

    It is known before a shard is read; `encode_pages` has the last word.
    """
    copies = 2 if indexed else 1
    for at in range(0, len(names), PAGE_SHARDS):
        size = copies * sum(len(name.encode()) for name in names[at : at + PAGE_SHARDS])
        if size > MAX_MANIFEST_PAGE_BYTES:
            raise _too_large(size, MAX_MANIFEST_PAGE_BYTES, page_path(at // PAGE_SHARDS), _SHORTER_NAMES)


class ShardPage(Sequence[Shard]):
    """The shards of one manifest page. Lines stay as they are, and are read one by one: a page in full takes a MB a
    thousand shards, and a million shards are opened by many workers. Raises `FormatError` for the line that is asked
    for.

    `starts`: 64-bit integers, the first sample of each, then the end of the last. `largest`: bytes of the largest.
    """

    def __init__(self, lines: Sequence[bytes], starts: array[int], largest: int, where: str) -> None:
        self.starts, self.largest = starts, largest
        self._lines, self._where = lines, where

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, number: int) -> Shard:  # type: ignore[override]
        shard = _read_line(Shard, self._lines[number], self._where)
        number %= len(self._lines)  # -1 is the last
        first, end = self.starts[number : number + 2]
        if (shard.first_sample, shard.first_sample + shard.samples) != (first, end):
            raise FormatError(
                f"{self._where}, line {number + 1}: {shard.path} has {shard.samples} samples from {shard.first_sample} "
                f"on, expected {end - first} from {first} on"
            )
        return shard


class _Span(_Model):
    """What the order of shards needs of a line: 4,096 of them in 9 ms, where whole lines take 90."""

    first_sample: Count
    samples: Count
    bytes: Count


_SPANS = TypeAdapter(list[_Span])


def decode_page(data: bytes, page: int, head: Head) -> ShardPage:
    """The shards of one page, all against the head; the rest of a line is checked when it is read.

    Raises `FormatError`.
    """
    where = page_path(page)
    if len(data) > MAX_MANIFEST_PAGE_BYTES:
        raise FormatError(f"{where} has {len(data)} bytes, more than {MAX_MANIFEST_PAGE_BYTES}")
    lines = data.splitlines()
    expected = min(PAGE_SHARDS, head.shards - page * PAGE_SHARDS)
    if len(lines) != expected:
        raise FormatError(f"{where} has {len(lines)} shards, expected {expected}")
    at = head.pages[page]
    starts = array("q")
    largest = 0
    for number, span in enumerate(_spans(lines, where)):
        if span.first_sample != at:
            raise FormatError(f"{where}: line {number + 1} starts at sample {span.first_sample}, expected {at}")
        starts.append(at)
        at += span.samples
        largest = max(largest, span.bytes)
    end = head.pages[page + 1] if page + 1 < len(head.pages) else head.samples
    if at != end:
        raise FormatError(f"{where} ends at sample {at}, expected {end}")
    starts.append(at)
    return ShardPage(lines, starts, largest, where)


def _spans(lines: Sequence[bytes], where: str) -> list[_Span]:
    """All lines as one text; if it is not as many spans as lines, line by line, for the words."""
    try:
        spans = _SPANS.validate_json(b"[%b]" % b",".join(lines))
    except (ValueError, RecursionError):
        spans = []
    return spans if len(spans) == len(lines) else [_read_line(_Span, line, where) for line in lines]


def partitions_of(shards: Iterable[Shard]) -> tuple[Partition, ...]:
    """The partitions of shards that are grouped by partition."""
    found: dict[str, Partition] = {}
    for shard in shards:
        known = found.get(shard.partition)
        if known is None:
            known = Partition(name=shard.partition, first_sample=shard.first_sample, samples=0)
        elif shard.first_sample != known.first_sample + known.samples:
            raise ValueError(f"partition {shard.partition!r} is not contiguous")
        found[shard.partition] = known.model_copy(update={"samples": known.samples + shard.samples})
    return tuple(found.values())


def _within(data: bytes, limit: int, where: str, hint: str) -> bytes:
    if len(data) > limit:
        raise _too_large(len(data), limit, where, hint)
    return data


def _too_large(size: int, limit: int, where: str, hint: str) -> ConfigError:
    return ConfigError(f"{where} would have {size} bytes, and readers take at most {limit}", hint=hint)


def _json(data: bytes, limit: int, where: str) -> Any:
    if len(data) > limit:
        raise FormatError(f"{where} has {len(data)} bytes, more than {limit}")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where} is not JSON: {error}") from error


def _read_line(model: type[_M], line: bytes, where: str) -> _M:
    """One line of JSON, at the speed of pydantic's own parser; what it refuses is looked at again, for its words."""
    if len(line) <= MAX_HEAD_BYTES:
        try:
            return model.model_validate_json(line)
        except (ValueError, RecursionError):
            pass
    return _validate(model, _json(line, MAX_HEAD_BYTES, where), where)


def _validate(model: type[_M], document: Any, where: str) -> _M:
    try:
        return model.model_validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise FormatError(f"{where}: {place}: {first['msg']}") from error

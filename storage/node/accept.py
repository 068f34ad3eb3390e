"""The Accept header: media types with their parameters, best first (RFC 9110 §12.5.1). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_MAX_ITEMS = 64


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One item of the header, in lower case."""

    media: str
    parameters: Mapping[str, str]
    quality: float


def read_accept(header: str) -> list[MediaRange]:
    """What the client takes, best first; what it names comes before wildcards, and `q=0` is left out."""
    found = []
    for item in header.lower().split(",", _MAX_ITEMS)[:_MAX_ITEMS]:
        media, *rest = (part.strip() for part in item.split(";"))
        if not media:
            continue
        pairs = (part.partition("=") for part in rest)
        parameters = {name.strip(): value.strip().strip('"') for name, _, value in pairs}
        quality = _quality(parameters.pop("q", "1"))
        if quality > 0:
            found.append(MediaRange(media, parameters, quality))
    return sorted(found, key=lambda item: (-item.quality, "*" in item.media))


def _quality(text: str) -> float:
    """A weight; one that is malformed counts as 1."""
    try:
        value = float(text)
    except ValueError:
        return 1.0
    return value if 0 <= value <= 1 else 1.0

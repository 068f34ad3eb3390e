"""Sizes and durations as people write them: `16KiB`, `64MB`, `30s`, `5m`."""

from __future__ import annotations

import re
from fractions import Fraction

from .errors import ConfigError

_SIZE_UNITS = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "pb": 10**15,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40, "pib": 1 << 50,
}  # fmt: skip
_DURATION_UNITS: dict[str, int | Fraction] = {
    "": 1,
    "ms": Fraction(1, 1000),
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86400,
}
_NUMBER = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?) ?([A-Za-z]*)", re.ASCII)
_MAX_SIZE = (1 << 63) - 1
_MAX_DURATION_S = 100 * 365 * 86400


def parse_size(text: str | int) -> int:
    """Bytes of a size. KB, MB … count by 1000, KiB, MiB … by 1024, no unit is bytes; case is ignored."""
    parts = _NUMBER.fullmatch(str(text).strip())
    unit = _SIZE_UNITS.get(parts[2].lower()) if parts else None
    size = Fraction(parts[1]) * unit if parts and unit else None
    if size is None or size.denominator != 1 or size > _MAX_SIZE:
        raise ConfigError(
            f"expected a size, got {_shown(text)}",
            hint="write 16KiB, 64MB, 1.5GiB or a plain number of bytes",
        )
    return int(size)


def parse_duration(text: str | float) -> float:
    """Seconds of a duration in ms, s, m, h or d; a plain number is seconds."""
    parts = _NUMBER.fullmatch(str(text).strip())
    unit = _DURATION_UNITS.get(parts[2].lower()) if parts else None
    seconds = Fraction(parts[1]) * unit if parts and unit else None
    if seconds is None or seconds > _MAX_DURATION_S:
        raise ConfigError(
            f"expected a duration, got {_shown(text)}",
            hint="write 30s, 5m, 250ms, 1h or a plain number of seconds",
        )
    return float(seconds)


def format_size(size: float) -> str:
    """A size for people, in powers of 1024, to one decimal. `parse_size` reads it back, rounded."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if round(size, 1) < 1024:
            return f"{_short(size)}{unit}"
        size /= 1024
    return f"{_short(size)}PiB"


def format_duration(seconds: float) -> str:
    """A duration for people, to one decimal: ms below 1 s, s and m below two of the next unit."""
    if round(seconds * 1000, 1) < 1000:
        return "0s" if seconds == 0 else f"{_short(seconds * 1000)}ms"
    if round(seconds, 1) < 120:
        return f"{_short(seconds)}s"
    if round(seconds / 60, 1) < 120:
        return f"{_short(seconds / 60)}m"
    return f"{_short(seconds / 3600)}h"


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _shown(text: object) -> str:
    return f'"{str(text)[:40]}"'

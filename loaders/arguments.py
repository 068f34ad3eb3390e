"""What users give to the surfaces, checked when they give it: else whoever stumbles over a wrong type would say so."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from ..storage.errors import ConfigError


def checked_whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number of `least` or more, and of `most` or less. Raises `ConfigError`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least or (most is not None and number > most):
        bounds = f"{least} or more" if most is None else f"{least} to {most}"
        raise ConfigError(f"{name}={value!r}: expected a whole number, {bounds}", hint=f"give another {name}")
    return number


def checked_optional(name: str, value: Any, least: int) -> int | None:
    """`checked_whole`, or None for None."""
    return None if value is None else checked_whole(name, value, least)


def checked_seconds(name: str, value: Any) -> float | None:
    """A positive time, or None for None. Raises `ConfigError`."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        raise ConfigError(f"{name}={value!r}: expected seconds, more than 0", hint="30.0, for instance")
    return float(value)


def checked_flag(name: str, value: Any) -> bool:
    """True or False. Raises `ConfigError`: "no" would be taken for yes."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name}={value!r}: expected True or False", hint=f"give one of them as {name}")
    return value


def checked_texts(name: str, value: Any, example: str) -> Sequence[str]:
    """A list of texts. Raises `ConfigError`, also for a single text, which is a list of letters."""
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(one, str) for one in value):
        raise ConfigError(f"{name}={value!r}: expected a list of texts", hint=f"{name}=[{example!r}], for instance")
    return value

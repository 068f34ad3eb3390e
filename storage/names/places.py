"""Places for names, out of what the user gave: URLs, or a roster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...configs.roster import Provider, Roster
from ..errors import ConfigError
from .http_place import KEEPING_KINDS, NAMING_KINDS, HttpPlace
from .place import NamePlace

Given = Sequence[str] | Roster | str | os.PathLike[str]


def places_of(given: Given, *, env: Mapping[str, str], keeping: bool = False) -> list[NamePlace]:
    """Whom to ask; with `keeping`, whom to give records to. Raises `ConfigError`, also when there is nobody."""
    if isinstance(given, (str, os.PathLike)):
        text = os.fspath(given)
        given = [text] if text.startswith(("http://", "https://")) else Roster.load(Path(text))
    if not isinstance(given, Roster):
        return [HttpPlace(Provider.at(url, "router"), env=env) for url in dict.fromkeys(given)]
    kinds = KEEPING_KINDS if keeping else NAMING_KINDS
    found = [HttpPlace(provider, env=env) for provider in given.providers if provider.kind in kinds]
    if not found:
        doing = "keeps names" if keeping else "can be asked for names"
        raise ConfigError(f"nobody in the roster {doing}", hint=f"add a provider of kind {', '.join(kinds)}")
    return [*found]

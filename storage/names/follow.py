"""`follow`: a URI that is a name becomes a URI of the root that it points at now."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from ...configs.settings import data_folder
from ..errors import ConfigError
from ..uri import DatasetUri, NameUri
from .known import KnownNames
from .name import Name
from .places import Given, places_of
from .resolve import resolve

_MAX_STEPS = 4  # a name may point at a name


def known_names(env: Mapping[str, str]) -> KnownNames:
    """What this user's programs have seen of names."""
    return KnownNames(data_folder(env) / "names.sqlite")


def follow(
    uri: NameUri,
    given: Given,
    *,
    env: Mapping[str, str] | None = None,
    on_warning: Callable[[str], None] = lambda _: None,
    clock_ns: Callable[[], int] = time.time_ns,
) -> DatasetUri:
    """Ask the sources that the dataset would be read from, which may all be none of them honest but one.

    Raises `ConfigError` for a name that is none, or points at no dataset, and as `resolve` does.
    """
    env = os.environ if env is None else env
    places, known = places_of(given, env=env), known_names(env)
    try:
        name, path = Name.parse(uri.name), uri.path
    except ConfigError as error:
        raise ConfigError(f"{uri}: {error.message}", hint=error.hint) from error
    for _ in range(_MAX_STEPS):
        found = resolve(name, places, known, clock_ns())
        for warning in found.warnings:
            on_warning(warning)
        target = DatasetUri.read(found.record.value)
        joined = "/".join(part for part in (target.path, path) if part)
        if isinstance(target, DatasetUri):
            return DatasetUri(target.root, joined)
        name, path = Name.parse(target.name), joined
    raise ConfigError(f"ipns://{uri.name} leads through more than {_MAX_STEPS} names", hint="give the root: ipfs://…")

"""The `Terms` of what a user gave: apart, because a fetcher that is told them need not know how they are found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...configs.roster import Provider, Roster, write_roster
from ...configs.settings import default_roster
from ...storage.fetch.policy import FetchPolicy
from ...storage.session import SourcesArgument, choose_sources
from ...storage.sources.netguard import NetGuard
from .terms import Terms


def terms_of(sources: SourcesArgument, guard: NetGuard, policy: FetchPolicy, env: Mapping[str, str]) -> Terms:
    """The terms of a user's arguments. Raises `ConfigError`, as `choose_sources` does."""
    choose_sources(sources, redirects=guard)
    allowed = tuple(str(network) for network in guard.allowed)
    found = default_roster(env) if sources is None else sources
    if isinstance(found, str) and found.startswith(("http://", "https://")):
        found = [found]
    if isinstance(found, Sequence) and not isinstance(found, str):
        return Terms(tuple(found), (), allowed, policy)
    assert found is not None
    roster = found if isinstance(found, Roster) else Roster.load(Path(found))
    providers = tuple(provider.model_copy(update=_files(provider)) for provider in roster.providers)
    names = {name for provider in providers for name in (provider.token_env, provider.headers_env) if name}
    held = tuple(sorted((name, env[name]) for name in names if name in env))
    return Terms(write_roster(providers), held, allowed, policy)


def _files(provider: Provider) -> dict[str, Path]:
    """Its paths, absolute: the fetcher works in another folder."""
    named = ((name, getattr(provider, name)) for name in type(provider).model_fields)
    return {name: path.absolute() for name, path in named if isinstance(path, Path)}

"""Sources out of what the user gave: URLs, or a roster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...configs.roster import Provider, Roster
from ..errors import ConfigError
from .from_urls import sources_of_urls
from .gateway import Gateway
from .http import Endpoint
from .mirror import Mirror
from .netguard import NetGuard
from .source import Source

READABLE_KINDS = ("peer", "gateway", "mirror")
ROUTING_KINDS = ("router",)


def sources_of(
    given: Sequence[str] | Roster | str | os.PathLike[str],
    *,
    env: Mapping[str, str],
    redirects: NetGuard | None = None,
) -> list[Source]:
    """Sources of URLs, of a roster, or of a roster's path. Raises `ConfigError`, also when there is none."""
    redirects = redirects or NetGuard()
    if isinstance(given, (str, os.PathLike)):
        text = os.fspath(given)
        given = [text] if text.startswith(("http://", "https://")) else Roster.load(Path(text))
    if isinstance(given, Roster):
        sources: list[Source] = [_of_provider(one, env, redirects) for one in given.providers if _serves(one)]
        if any(provider.kind in ROUTING_KINDS for provider in given.providers):
            sources += _routed(given, env, redirects)
        if not sources:
            raise ConfigError(
                "the roster names nothing that can be read from",
                hint=f"add a provider of kind {', '.join((*READABLE_KINDS, *ROUTING_KINDS))}, or filecoin (pieces = …)",
            )
        return sources
    return sources_of_urls(given, redirects)


def _routed(roster: Roster, env: Mapping[str, str], redirects: NetGuard) -> list[Source]:
    """Places for gateways that the roster's routers may name."""
    from ..names.router import Router  # with the client for control calls: 150 ms, which a roster without pays not
    from .found import MAX_FOUND, Finder, Found

    routers = [Router(provider, env=env) for provider in roster.providers if provider.kind in ROUTING_KINDS]
    finder = Finder(routers, redirects)
    return [Found(finder, number) for number in range(MAX_FOUND)]


def _serves(provider: Provider) -> bool:
    return provider.kind in READABLE_KINDS or provider.pieces is not None


def readable(provider: Provider) -> bool:
    """Whether its entry says how it is read back from."""
    return _serves(provider) or provider.gateway is not None


def reading_side(provider: Provider, env: Mapping[str, str], redirects: NetGuard | None = None) -> Source | None:
    """How one provider is read back from: a kept dataset must come from who keeps it. None where nobody said how.

    Of a kubo, a cluster or a pinning service that is the `gateway` that its roster entry names. It is asked for what it
    has itself (`only-if-cached`, trustless gateway specification): one that fetches from others to answer us is not
    what is meant, though nothing proves that it does not.
    """
    redirects = redirects or NetGuard()
    headers = {"Cache-Control": "only-if-cached"}
    if _serves(provider):
        return _of_provider(provider, env, redirects, headers)
    if provider.gateway is None:
        return None
    return Gateway(provider.name, Endpoint(provider.gateway, headers, provider.ca_file, redirect_guard=redirects))


def _of_provider(
    provider: Provider, env: Mapping[str, str], redirects: NetGuard, more: Mapping[str, str] | None = None
) -> Source:
    headers = {**provider.headers(env), **(more or {})}
    endpoint = Endpoint(provider.url, headers, provider.ca_file, redirect_guard=redirects)
    if provider.pieces is not None:
        from ..pieces.manifest import PieceManifest  # with NumPy, which a roster without pieces pays not
        from .piece import PieceSource

        manifest = PieceManifest.read(provider.pieces)
        return PieceSource(provider.name, endpoint, manifest, max_rate=provider.max_rate)
    if provider.kind == "mirror":
        return Mirror(
            provider.name, endpoint,
            prefix=provider.path_prefix, path_map=provider.path_map, max_rate=provider.max_rate,
        )  # fmt: skip
    return Gateway(provider.name, endpoint, max_rate=provider.max_rate)

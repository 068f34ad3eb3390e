"""Sources out of URLs alone. Apart from rosters, whose models take 60 ms to import."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ConfigError
from .http import Endpoint
from .netguard import NetGuard
from .probe import Probed
from .source import Source


def sources_of_urls(urls: Sequence[str], redirects: NetGuard) -> list[Source]:
    """One source each, of the kind that it turns out to be. Raises `ConfigError` when there is none."""
    if not urls:
        raise ConfigError("no source is named", hint="give --from URL or --roster FILE; in Python: sources=")
    return [Probed(url, Endpoint(url, redirect_guard=redirects)) for url in dict.fromkeys(urls)]

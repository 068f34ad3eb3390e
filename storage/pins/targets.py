"""Pin targets out of a roster."""

from __future__ import annotations

from collections.abc import Mapping

from ...configs.roster import Provider
from ..errors import ConfigError
from .cluster import ClusterPins
from .kubo import KuboPins
from .pinning_service import PINNING_KINDS, PinningService
from .target import PinTarget

TARGET_KINDS = (*PINNING_KINDS, "kubo", "cluster")


def target_of(provider: Provider, env: Mapping[str, str]) -> PinTarget:
    """Raises `ConfigError` for a kind that keeps nothing on request."""
    if provider.kind in PINNING_KINDS:
        return PinningService(provider, env=env)
    if provider.kind == "kubo":
        return KuboPins(provider, env=env)
    if provider.kind == "cluster":
        return ClusterPins(provider, env=env)
    raise ConfigError(
        f"{provider.name} is a {provider.kind}, which keeps nothing on request",
        hint=f"kinds that do: {', '.join(TARGET_KINDS)}",
    )

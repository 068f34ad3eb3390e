"""holdfast: datasets that no provider can withhold or alter.

`publish` and `get` need no extra; `StreamingDataset` needs `holdfast[train]` (torch), imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .configs.roster import Provider, Roster
    from .loaders.data_loader import DataLoader
    from .loaders.dataset import StreamingDataset
    from .loaders.indexed import IndexedDataset
    from .loaders.mixture import Mixture
    from .loaders.prometheus import PrometheusStats
    from .loaders.scalars import write_scalars
    from .loaders.tokens import TokenDataset
    from .pipeline.publish import publish
    from .storage.get import get

__all__ = [
    "DataLoader",
    "IndexedDataset",
    "Mixture",
    "PrometheusStats",
    "Provider",
    "Roster",
    "StreamingDataset",
    "TokenDataset",
    "get",
    "publish",
    "write_scalars",
]

_HOMES = {
    "DataLoader": "loaders.data_loader",
    "IndexedDataset": "loaders.indexed",
    "Mixture": "loaders.mixture",
    "PrometheusStats": "loaders.prometheus",
    "Provider": "configs.roster",
    "Roster": "configs.roster",
    "StreamingDataset": "loaders.dataset",
    "TokenDataset": "loaders.tokens",
    "get": "storage.get",
    "publish": "pipeline.publish",
    "write_scalars": "loaders.scalars",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # 20 ms, which a fetcher's start would pay for nothing

        return version("holdfast")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)

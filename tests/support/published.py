"""A folder, published and copied out as a mirror."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.get import get


def publish_mirror(place: Path, source: Path, **options: Any) -> str:
    """Publish `source` into `place/repo`, copy it to `place/mirror`; returns the URI."""
    result = publish(source, name="t", repo=place / "repo", **options)
    with DiskStore(place / "repo").open(create=False) as store:
        get(result.uri, place / "mirror", store=store)
    return result.uri

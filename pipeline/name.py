"""Point a repository's name at a root, and pin the root, so that its blocks are known to be wanted."""

from __future__ import annotations

from ..storage.blocks.catalog import Catalog
from ..storage.cid import CID


def point_name(catalog: Catalog, name: str, root: CID, now_ns: int) -> bool:
    """Record name and pin, in one step; returns whether the name pointed there already.

    The pin's request id is `local-NAME`: it moves along with the name.
    """
    unchanged = catalog.names().get(name) == root
    with catalog.transaction() as connection:
        connection.execute(
            # created_us is unique: the Pinning Service API pages by it
            "INSERT INTO pins (requestid, root, name, status, created_us, origins, meta, info) VALUES"
            " (?, ?, ?, 'pinned', (SELECT max(?, coalesce(max(created_us), 0) + 1) FROM pins), '[]', '{}', '{}')"
            " ON CONFLICT (requestid) DO UPDATE SET root = excluded.root, status = 'pinned'",
            (f"local-{name}", bytes(root), name, now_ns // 1000),
        )
        connection.execute(
            "INSERT INTO names VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
            " root = excluded.root, published_ns = excluded.published_ns",
            (name, bytes(root), now_ns),
        )
    return unchanged

"""Make what a repository holds old, so that a gc need not wait for a second to pass."""

from __future__ import annotations

import os
from contextlib import suppress

from holdfast.storage.blocks.disk import DiskStore


def age(store: DiskStore) -> None:
    """As if everything had been stored long ago, and nobody had come to rely on it since."""
    for path in [*store.nodes.folder.glob("??/*"), *(path for path in store.files_folder.iterdir() if path.suffix)]:
        with suppress(FileNotFoundError):  # a gc beside us took it
            os.utime(path, ns=(1, 1))
    with store.catalog.transaction() as connection:
        connection.execute("UPDATE files SET used_ns = 1")
        connection.execute("UPDATE journal SET used_ns = 1")

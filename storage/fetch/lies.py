"""Whose fault it is when a leaf is wrong everywhere: sources answer for bytes, the publisher for what nodes claim."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import FormatError, PeerError
from ..sources.source import FileRef
from ..sources.transfer import Transfer
from .engine import FetchEngine

_MAX_ASKED = 4  # sources; one that has the block is enough


def name_lie(engine: FetchEngine, file: FileRef, failed: Sequence[int]) -> FormatError | None:
    """Why the first of these leaves could be had nowhere, if that is because it has not as many bytes as its node says.

    Asks for the block itself, which a source that has files alone does not know. None if that is not the reason.
    """
    for leaf in failed[:1]:
        cid, expected = file.layout.leaf_cid(leaf), file.layout.leaf_length(leaf)
        for source in list(engine.sources.values())[:_MAX_ASKED]:
            try:
                data = source.fetch_block(cid, file.root, Transfer())
            except PeerError:
                continue
            if len(data) != expected and cid.matches(data):
                return FormatError(
                    f"leaf {leaf} of {file.path or file.layout.cid} ({cid.short()}) has {len(data)} bytes; its node"
                    f" says {expected}",
                    hint="whoever made this DAG has to make it again: no source is at fault",
                )
    return None

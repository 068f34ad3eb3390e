"""Whose fault it is when a leaf is wrong everywhere: sources answer for bytes, the publisher for what nodes claim."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..errors import FormatError, PeerError, SlowError
from ..sources.source import FileRef
from ..sources.transfer import Transfer
from .engine import FetchEngine

_MAX_ASKED = 4  # sources; one that has the block is enough
_MAX_S = 10.0  # each


def name_lie(engine: FetchEngine, file: FileRef, failed: Sequence[int]) -> FormatError | None:
    """Why the first of these leaves could be had nowhere, if that is because it has not as many bytes as its node says.

    Asks for the block itself, which a source that has files alone does not know. None if that is not the reason.
    """
    for leaf in failed[:1]:
        cid, expected = file.layout.leaf_cid(leaf), file.layout.leaf_length(leaf)
        for source in list(engine.sources.values())[:_MAX_ASKED]:
            try:
                with _bounded(min(engine.policy.progress_deadline_s, _MAX_S)) as transfer:
                    data = source.fetch_block(cid, file.root, transfer)
            except PeerError:
                continue
            if len(data) != expected and cid.matches(data):
                return FormatError(
                    f"leaf {leaf} of {file.path or file.layout.cid} ({cid.short()}) has {len(data)} bytes; its node"
                    f" says {expected}",
                    hint="whoever made this DAG has to make it again: no source is at fault",
                )
    return None


@contextmanager
def _bounded(seconds: float) -> Iterator[Transfer]:
    """A transfer that the engine does not watch, so that it has to end by itself: a source may drip."""
    transfer = Transfer()
    timer = threading.Timer(seconds, transfer.cancel, [SlowError(f"not done after {seconds:g} s")])
    timer.daemon = True
    timer.start()
    try:
        yield transfer
    finally:
        timer.cancel()

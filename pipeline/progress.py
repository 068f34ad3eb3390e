"""`Progress`: adds up what a stage has done and tells whoever listens."""

from __future__ import annotations

from .result import OnProgress, PublishProgress, Stage


class Progress:
    """Calls back in the publishing thread only."""

    def __init__(self, listener: OnProgress | None) -> None:
        self._listener = listener
        self._stage: Stage = "scan"
        self._done = self._total = 0

    def stage(self, stage: Stage, total_bytes: int) -> None:
        """Begin a stage."""
        self._stage, self._done, self._total = stage, 0, total_bytes
        self.add(0)

    def add(self, count: int) -> None:
        """`count` more bytes are done."""
        self._done += count
        if self._listener is not None:
            self._listener(PublishProgress(self._stage, self._done, self._total))

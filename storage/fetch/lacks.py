"""`Lacks`: what sources said that they lack: whole files, or leaves of them, and until when that is believed. Pure."""

from __future__ import annotations

from .work import Key


class Lacks:
    """Times are those of the planner's clock. `words`: what a source said of a file, by (source, object)."""

    def __init__(self) -> None:
        self.words: dict[tuple[str, int], str] = {}
        self._files: dict[tuple[str, int], float] = {}
        self._leaves: dict[tuple[str, Key], float] = {}

    def file(self, source: str, object_id: int, until: float, words: str | None = None) -> None:
        """All leaves of a file."""
        self._files[(source, object_id)] = until
        if words is not None:
            self.words[(source, object_id)] = words

    def leaves(self, source: str, object_id: int, leaves: range, until: float) -> None:
        """These leaves, and perhaps no others."""
        for leaf in leaves:
            self._leaves[(source, (object_id, leaf))] = until

    def until(self, source: str, key: Key) -> float:
        """When the source is asked for this leaf again; 0 when it never said that it lacks it."""
        whole = self._files.get((source, key[0]), 0.0)
        return max(whole, self._leaves.get((source, key), 0.0)) if self._leaves else whole

    def forget(self, object_id: int) -> None:
        """All of a file."""
        for pair in [pair for pair in self._files if pair[1] == object_id]:
            del self._files[pair]
            self.words.pop(pair, None)
        for leaf in [leaf for leaf in self._leaves if leaf[1][0] == object_id]:
            del self._leaves[leaf]

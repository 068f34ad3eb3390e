"""`UntilError`: an iterator that somebody reads ahead: its error is due behind what came before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from ..storage.errors import HoldfastError

T = TypeVar("T")


class UntilError(Iterator[T]):
    """What `found` gives. Where that fails it ends, and `error` is why."""

    def __init__(self, found: Iterator[T]) -> None:
        self._found = found
        self.error: HoldfastError | None = None

    def __next__(self) -> T:
        if self.error is not None:
            raise StopIteration
        try:
            return next(self._found)
        except HoldfastError as error:
            self.error = error
            raise StopIteration from None

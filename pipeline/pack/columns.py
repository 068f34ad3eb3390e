"""`Columns`: what a first reading learns of rows: columns by name, and the type that takes every value of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, Protocol, Self, TypeVar

import pyarrow as pa

MAX_COLUMNS = 4096


class Column(Protocol):
    """What was seen so far of one column."""

    def see(self, value: Any) -> None:
        """Widen the type so that it takes `value`."""

    def arrow(self) -> pa.DataType:
        """The Arrow type."""

    def state(self) -> object:
        """All of it as JSON, for `parse`."""

    @classmethod
    def parse(cls, state: Any) -> Self:
        """One that has seen the same. Raises `ValueError`, `TypeError` or `KeyError` for what is no state."""


C = TypeVar("C", bound=Column)


class Columns(Generic[C]):
    """Columns in the order in which they first appear."""

    def __init__(self, kind: type[C]) -> None:
        self._kind = kind
        self._known: dict[str, C] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[tuple[str, C]]:
        return iter(self._known.items())

    def see(self, row: Mapping[str, Any]) -> None:
        """One more row."""
        for name, value in row.items():
            column = self._known.get(name)
            if column is None:
                column = self._known[name] = self._kind()
            column.see(value)

    @property
    def schema(self) -> pa.Schema:
        """The columns with their types."""
        return pa.schema([(name, column.arrow()) for name, column in self._known.items()])

    def state(self) -> object:
        """All of it as JSON, for `go_on`."""
        return {name: column.state() for name, column in self._known.items()}

    def go_on(self, state: Any) -> None:
        """As if it had seen what another one had. Raises as `Column.parse`, and is as it was then."""
        self._known = {name: self._kind.parse(each) for name, each in dict(state).items()}

"""Infer one Arrow type for the JSON values of a column: unify what can be, and spell the rest as JSON text.

Integers and floats unify while every integer is exact as a float; records and lists unify part by part. Anything
else (text in one row, a number in another) becomes a text column that holds each value's JSON, unambiguously.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

_EXACT = 1 << 53
_INT64 = 1 << 63
_KINDS = frozenset(("null", "bool", "int", "long", "float", "text", "json"))  # without parts
_SIMPLE = {str: "text", bool: "bool", float: "float"}  # kinds that need no look at the value
MAX_DEPTH = 16
MAX_FIELDS = 1024  # of one record; more are a mapping, and kept as JSON


@dataclass(slots=True)
class ColumnType:
    """What was seen so far. `kind`: null, bool, int (exact as a float), long, float, text, list, record, json."""

    kind: str = "null"
    item: ColumnType | None = None
    fields: dict[str, ColumnType] = field(default_factory=dict)

    def see(self, value: Any, depth: int = 0) -> None:
        """Widen the type so that it takes `value`."""
        if value is None or self.kind == "json" or _SIMPLE.get(type(value)) == self.kind:
            return
        kind = _kind(value) if depth < MAX_DEPTH else "json"
        if self.kind not in ("null", kind):
            kind = "float" if {self.kind, kind} == {"int", "float"} else kind
            kind = "long" if {self.kind, kind} == {"int", "long"} else kind
            if kind not in ("float", "long") or self.kind not in ("int", kind):
                kind = "json"
        self.kind = kind
        if kind == "list":
            self.item = self.item or ColumnType()
            for element in value:
                self.item.see(element, depth + 1)
        elif kind == "record":
            for name, element in value.items():
                self.fields.setdefault(name, ColumnType()).see(element, depth + 1)
            if len(self.fields) > MAX_FIELDS:
                self.kind = "json"

    def arrow(self) -> pa.DataType:
        """The Arrow type. A column of nothing but nulls is text."""
        match self.kind:
            case "bool":
                return pa.bool_()
            case "int" | "long":
                return pa.int64()
            case "float":
                return pa.float64()
            case "list" if self.item is not None:
                return pa.list_(self.item.arrow())
            case "record" if self.fields:
                return pa.struct([(name, each.arrow()) for name, each in self.fields.items()])
            case _:
                return pa.string()

    def state(self) -> object:
        """All that matters of it as JSON, for `parse`."""
        if self.kind == "list" and self.item is not None:
            return [self.kind, self.item.state()]
        if self.kind == "record":
            return [self.kind, {name: each.state() for name, each in self.fields.items()}]
        return [self.kind, None]

    @classmethod
    def parse(cls, state: Any) -> ColumnType:
        """Read what `state` gave. Raises `ValueError` or `TypeError` for anything else."""
        kind, parts = state
        if kind == "list" and parts is not None:
            return cls(kind, item=cls.parse(parts))
        if kind == "record":
            return cls(kind, fields={str(name): cls.parse(each) for name, each in dict(parts).items()})
        if kind not in _KINDS or parts is not None:
            raise ValueError(f"{kind!r} is no kind")
        return cls(kind)

    def plain(self) -> bool:
        """Whether values go into Arrow as they are: no JSON text anywhere below."""
        if self.kind == "record":
            return bool(self.fields) and all(each.plain() for each in self.fields.values())
        if self.kind == "list":
            return self.item is not None and self.item.plain()
        return self.kind != "json"

    def fit(self, value: Any) -> Any:
        """`value` as Arrow takes it for this type."""
        if value is None or self.plain():
            return value
        if self.kind == "list" and self.item is not None:
            return [self.item.fit(element) for element in value]
        if self.kind == "record" and self.fields:
            return {name: self.fields[name].fit(element) for name, element in value.items()}
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int():
            if abs(value) <= _EXACT:
                return "int"
            return "long" if -_INT64 <= value < _INT64 else "json"
        case float():
            return "float"
        case str():
            return "text"
        case list():
            return "list"
        case _:
            return "record"

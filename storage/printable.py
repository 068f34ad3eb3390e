"""Foreign text for messages, tables and databases: one line, no control characters, no lone surrogates, bounded."""

from __future__ import annotations


def printable(text: str, limit: int = 300) -> str:
    """`text` with a space for whatever cannot be printed (escape sequences among it), cut at `limit` characters."""
    return "".join(char if char.isprintable() else " " for char in text[: 4 * limit])[:limit].strip()

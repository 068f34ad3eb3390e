"""Digits of other bases: base58btc and base36, which texts of CIDs, names and peers are written in.

Specification: multiformats/multibase. Leading zero bytes are leading first digits, so bytes and text map one to one.
"""

from __future__ import annotations

BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def from_digits(text: str, alphabet: str) -> bytes:
    """The bytes that `text` spells. Quadratic in its length, which callers bound. Raises `ValueError`."""
    number = 0
    for char in text:
        digit = alphabet.find(char)
        if digit < 0:
            raise ValueError(f"{char!r} is not in the alphabet")
        number = number * len(alphabet) + digit
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")


def to_digits(data: bytes, alphabet: str) -> str:
    """The text of `data`, without a multibase prefix."""
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, len(alphabet))
        text = alphabet[digit] + text
    return alphabet[0] * (len(data) - len(data.lstrip(b"\0"))) + text

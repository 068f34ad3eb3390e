"""Varints: minimal, at most nine bytes, never read past the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.storage.errors import FormatError
from holdfast.storage.varint import read_uvarint, uvarint


@given(st.integers(0, 2**63 - 1), st.binary(max_size=4))
def test_every_value_comes_back_wherever_it_lies(value: int, around: bytes) -> None:
    data = around + uvarint(value) + around
    assert read_uvarint(data, len(around)) == (value, len(data) - len(around))
    assert read_uvarint(memoryview(data), len(around)) == (value, len(data) - len(around))


@pytest.mark.parametrize("value", [-1, 2**63])
def test_a_value_that_does_not_fit_is_the_callers_mistake(value: int) -> None:
    with pytest.raises(ValueError):
        uvarint(value)


@pytest.mark.parametrize("data", ["", "80", "8000", "818000", "ff" * 9, "80" * 9 + "01", "ffffffff"])
def test_cut_long_and_padded_varints_are_refused(data: str) -> None:
    with pytest.raises(FormatError):
        read_uvarint(bytes.fromhex(data), 0)


def test_padding_is_read_only_where_it_is_allowed() -> None:
    assert read_uvarint(b"\x81\x00", 0, minimal=False) == (1, 2)

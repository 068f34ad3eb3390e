"""Sizes and durations: what people write is read exactly, anything else is refused with a hint."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.configs.errors import ConfigError
from holdfast.configs.sizes import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16KiB", 16384),
        ("64MB", 64_000_000),
        ("1048576", 1048576),
        (1048576, 1048576),
        ("1.5GiB", 3 << 29),
        ("1.1KB", 1100),
        ("0", 0),
        (" 2 mib ", 2 << 20),
        ("10B", 10),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_sizes_are_read_exactly(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MB",
        "16K",
        "16 Mbit",
        "-1",
        "1e6",
        "1,5GB",
        "0.5B",
        "1.0001KiB",
        "1__0",
        "٣MB",
        "9999999PB",
        "1.5.2MB",
        "∞",
    ],
)
def test_other_sizes_are_refused_with_a_hint(text):
    with pytest.raises(ConfigError, match="expected a size, got") as caught:
        parse_size(text)
    assert text[:40] in caught.value.message
    assert "16KiB" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("5m", 300.0),
        ("250ms", 0.25),
        ("1h", 3600.0),
        ("1.5h", 5400.0),
        ("2d", 172800.0),
        ("7", 7.0),
    ]
    + [(7, 7.0), (0.5, 0.5), ("0", 0.0)],
)
def test_durations_are_read_in_seconds(text, seconds):
    parsed = parse_duration(text)
    assert parsed == seconds
    assert isinstance(parsed, float)


@pytest.mark.parametrize("text", ["", "s", "-5s", "5 minutes", "1h30m", "nan", float("inf"), "999999999999h"])
def test_other_durations_are_refused_with_a_hint(text):
    with pytest.raises(ConfigError, match="expected a duration, got") as caught:
        parse_duration(text)
    assert "30s" in caught.value.hint


def test_sizes_are_written_for_people():
    assert [format_size(n) for n in (0, 1, 1023, 1024, 1536, 1 << 20, 50_000_000, 1 << 50, 1 << 62)] == [
        "0B",
        "1B",
        "1023B",
        "1KiB",
        "1.5KiB",
        "1MiB",
        "47.7MiB",
        "1PiB",
        "4096PiB",
    ]
    assert format_size((1 << 20) - 1) == "1MiB"  # never 1024KiB


def test_durations_are_written_for_people():
    assert [format_duration(s) for s in (0, 0.25, 0.0004, 0.99999, 1, 90, 119.99, 300, 7200, 90000)] == [
        "0s",
        "250ms",
        "0.4ms",
        "1s",
        "1s",
        "90s",
        "2m",
        "5m",
        "2h",
        "25h",
    ]


@given(st.integers(0, 1 << 62))
def test_a_written_size_reads_back_within_its_rounding(size):
    try:
        back = parse_size(format_size(size))
    except ConfigError:
        assert "." in format_size(size)  # 1.1KiB is no whole number of bytes
    else:
        assert abs(back - size) <= max(1, size * 0.06)


@given(st.floats(0.001, 1e6))
def test_a_written_duration_reads_back_within_its_rounding(seconds):
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=0.06)

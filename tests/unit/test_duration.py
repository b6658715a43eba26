from datetime import timedelta

import pytest

from posthouse.domain.duration import format_duration, is_duration, parse_duration


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(milliseconds=250), "250ms"),
        (timedelta(milliseconds=1500), "1500ms"),
        (timedelta(seconds=10), "10s"),
        (timedelta(seconds=90), "90s"),
        (timedelta(minutes=90), "90m"),
        (timedelta(hours=17), "17h"),
        (timedelta(days=400), "400d"),
        (timedelta(), "0ms"),
    ],
)
def test_durations_are_written_as_they_are_read(value: timedelta, text: str) -> None:
    assert format_duration(value) == text
    assert parse_duration(text) == value


@pytest.mark.parametrize("text", ["", "10", "s", "10 s", "-1s", "10s\n", "1w", "1.s"])
def test_what_is_no_duration(text: str) -> None:
    assert not is_duration(text)
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)

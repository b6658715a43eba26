"""The token bucket: never more than its limit, whatever the rhythm; and what its headers say is so."""

import re
import tomllib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.clock import ManualClock
from posthouse.config import DEVELOPMENT, settings_from
from posthouse.domain.errors import Misconfigured
from posthouse.domain.ids import ApiKeyId
from posthouse.domain.rate import Rate, parse_rate
from posthouse.web.api.rate_limit import RateLimit, RateLimiter, Standing

KEY, OTHER = ApiKeyId(UUID(int=1)), ApiKeyId(UUID(int=2))


def headers(standing: Standing) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in standing.headers()}


def test_a_burst_and_then_the_rate() -> None:
    clock = ManualClock()
    limiter = RateLimiter(RateLimit(per_second=2.0, burst=3), clock.monotonic)
    assert [limiter.take(KEY).wait for _ in range(4)] == [0, 0, 0, 0.5]
    assert limiter.take(OTHER).wait == 0
    clock.advance(0.5)
    assert [limiter.take(KEY).wait for _ in range(2)] == [0, 0.5]
    clock.advance(3600)
    assert [limiter.take(KEY).wait for _ in range(4)] == [0, 0, 0, 0.5]


def test_the_headers_say_where_the_key_stands() -> None:
    limiter = RateLimiter(RateLimit(per_second=2.0, burst=3), ManualClock().monotonic)
    assert headers(limiter.take(KEY)) == {
        "ratelimit-policy": '"default";q=3;w=2',
        "ratelimit": '"default";r=2;t=1',
        "ratelimit-limit": "3",
        "ratelimit-remaining": "2",
        "ratelimit-reset": "1",
    }


@given(
    st.floats(0.01, 1e5),
    st.integers(1, 100_000),
    st.lists(st.floats(0, 100), max_size=50),
)
def test_never_more_than_the_burst_and_the_rate_since(rate: float, burst: int, pauses: list[float]) -> None:
    clock = ManualClock()
    limiter = RateLimiter(RateLimit(rate, burst), clock.monotonic)
    allowed = 0
    for pause in pauses:
        clock.advance(pause)
        standing = limiter.take(KEY)
        allowed += standing.wait == 0
        assert 0 <= standing.left <= burst
        assert allowed <= (burst + rate * clock.monotonic()) * (1 + 1e-9)


@given(st.floats(0.01, 1e5), st.integers(1, 20))
def test_after_the_wait_it_may_go_on(rate: float, burst: int) -> None:
    clock = ManualClock()
    limiter = RateLimiter(RateLimit(rate, burst), clock.monotonic)
    while (standing := limiter.take(KEY)).wait == 0:
        pass
    clock.advance(standing.wait * (1 + 1e-9) + 1e-9)
    assert limiter.take(KEY).wait == 0


@pytest.mark.parametrize(
    ("text", "per_second"),
    [("10000/s", 10_000.0), ("600/m", 10.0), ("1/h", 1 / 3600), ("999999999/s", 999_999_999)],
)
def test_a_rate_is_a_number_and_a_unit(text: str, per_second: float) -> None:
    rate = parse_rate(text)
    assert (str(rate), rate.per_second) == (text, per_second)


@given(st.text(max_size=20))
def test_whatever_is_no_rate_says_so(text: str) -> None:
    if re.fullmatch(r"[1-9][0-9]{0,8}/[smh]", text):
        assert str(parse_rate(text)) == text
    else:
        with pytest.raises(ValueError, match="is not a rate"):
            parse_rate(text)


@pytest.mark.parametrize("value", ["10000", "0/s", "1.5/s", "10 / s", "10/d", "5s", 5, True, [5, "s"]])
def test_a_configuration_with_another_rate_is_refused(value: object) -> None:
    with pytest.raises(Misconfigured, match=r"rate.*\$\.api\.rate_limit"):
        settings_from({**_development(), "api": {"rate_limit": value}}, "a test")


def test_the_limit_of_a_configuration() -> None:
    settings = settings_from({**_development(), "api": {"rate_limit": "600/m", "rate_burst": 7}}, "a test")
    assert (settings.api.rate_limit.per_second, settings.api.rate_burst) == (10.0, 7)
    assert isinstance(settings.api.rate_limit, Rate)


def _development() -> dict[str, object]:
    return tomllib.loads(DEVELOPMENT.format(folder="data"))

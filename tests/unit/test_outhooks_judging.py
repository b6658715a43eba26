"""What an answer means, case by case; and URLs that are refused before anybody connects."""

import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.domain.errors import InvalidInput
from posthouse.domain.webhook import DeliveryState
from posthouse.net.client import InDoubt, NotTaken, Reply
from posthouse.net.guard import EgressPolicy
from posthouse.outhooks.desk import check_url
from posthouse.outhooks.judging import MAX_PAUSE, judge

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
RETRIES = [timedelta(seconds=5), timedelta(minutes=5)]


def rng() -> random.Random:
    return random.Random(1)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_2xx_is_success(status: int) -> None:
    verdict = judge(Reply(status, {}, b"ok"), 1, RETRIES, NOW, rng())
    assert (verdict.state, verdict.error) == (DeliveryState.DELIVERED, "")


@pytest.mark.parametrize("status", [100, 199, 300, 302, 308, 400, 401, 404, 429, 500, 503, 599, 999])
def test_nothing_else_is(status: int) -> None:
    verdict = judge(Reply(status, {}, b"no"), 1, RETRIES, NOW, rng())
    assert verdict.state is DeliveryState.PENDING
    assert verdict.error.startswith(f"answered {status}")
    assert verdict.retry_in is not None


@pytest.mark.parametrize("reply", [NotTaken("refused"), InDoubt("no answer"), Reply(500, {}, b"")])
def test_waits_are_those_of_the_list_and_a_little_more_and_then_it_has_failed(
    reply: NotTaken | InDoubt | Reply,
) -> None:
    for tries, wait in enumerate(RETRIES, start=1):
        verdict = judge(reply, tries, RETRIES, NOW, rng())
        assert verdict.retry_in is not None
        assert wait <= verdict.retry_in <= wait * 1.1
    assert judge(reply, 3, RETRIES, NOW, rng()).state is DeliveryState.FAILED
    assert judge(reply, 1, [], NOW, rng()).state is DeliveryState.FAILED


def test_gone_is_for_good() -> None:
    verdict = judge(Reply(410, {}, b""), 1, RETRIES, NOW, rng())
    assert (verdict.state, verdict.gone is not None) == (DeliveryState.FAILED, True)


@pytest.mark.parametrize(
    ("status", "asked", "pause"),
    [
        (429, "60", timedelta(minutes=1)),
        (503, "Tue, 24 Nov 2026 10:02:00 GMT", timedelta(minutes=2)),
        (503, "999999999999999999999999", MAX_PAUSE),
        (429, "Fri, 31 Dec 9999 23:59:59 GMT", MAX_PAUSE),
        (429, "0", None),
        (429, "Tue, 24 Nov 2020 10:02:00 GMT", None),
        (429, "soon", None),
        (500, "60", None),
    ],
)
def test_retry_after(status: int, asked: str, pause: timedelta | None) -> None:
    verdict = judge(Reply(status, {"retry-after": asked}, b""), 1, RETRIES, NOW, rng())
    assert verdict.pause == pause
    assert verdict.retry_in is not None
    assert verdict.retry_in >= (pause or timedelta(0))


@given(status=st.integers(100, 999), asked=st.text(), body=st.binary(max_size=3000), tries=st.integers(1, 5))
def test_no_answer_stops_it_or_grows_the_log(status: int, asked: str, body: bytes, tries: int) -> None:
    verdict = judge(Reply(status, {"retry-after": asked}, body), tries, RETRIES, NOW, rng())
    assert len(verdict.response) <= 1000
    assert verdict.pause is None or timedelta(0) < verdict.pause <= MAX_PAUSE


POLICY = EgressPolicy(frozenset({"localhost:3000", "10.0.0.1:8443"}))


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example/hooks",
        "https://app.example:8443/hooks?token=x",
        "https://93.184.216.34/",
        "http://localhost:3000/hooks",
        "https://10.0.0.1:8443/",
    ],
)
def test_urls_that_are_taken(url: str) -> None:
    check_url(url, POLICY)


@pytest.mark.parametrize(
    "url",
    [
        "http://app.example/hooks",
        "ftp://app.example/",
        "file:///etc/passwd",
        "/hooks",
        "app.example/hooks",
        "https://",
        "https:///hooks",
        "https://user:password@app.example/",
        "https://app.example/#part",
        "https://app.example/a b",
        "https://app.example/\r\nx: y",
        "https://app.example/\x00",
        "https://äpp.example/",
        "https://app.example:99999/",
        "https://[::1",
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fd00::1]/",
        "https://168.63.129.16/",
        "http://localhost:3001/",
        "https://" + "a" * 2000,
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_url(url, POLICY)
    assert refused.value.pointer == "/endpoint"
    assert refused.value.code in ("invalid_url", "private_address")


@given(st.text())
def test_no_text_gets_another_answer(url: str) -> None:
    with suppress(InvalidInput):
        check_url(url, POLICY)

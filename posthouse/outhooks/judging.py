"""What an answer of an endpoint means: pure, so that every case can be tried without waiting for it."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, assert_never

from posthouse.domain.webhook import DeliveryState
from posthouse.net.client import Denied, InDoubt, NoReply, NotTaken, Reply, Withheld

#: The longest pause that an endpoint may ask for: a wrong clock of theirs must not stop it for days.
MAX_PAUSE: Final = timedelta(hours=1)
#: Of an answer's body, kept in the delivery log.
RESPONSE_BYTES: Final = 1000
#: Each wait is up to a tenth longer, so that what failed together does not come back together.
_JITTER: Final = 0.1

_NOT_ALLOWED: Final = "not allowed to connect: its address is not public, or it has no TLS"
_SLOW_DOWN: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class Verdict:
    """`retry_in` None: there is no further attempt. `pause`: the whole endpoint waits. `gone`: why it is
    disabled at once."""

    state: DeliveryState
    http_status: int | None
    error: str
    response: str
    retry_in: timedelta | None = None
    pause: timedelta | None = None
    gone: str | None = None


def judge(
    reply: Reply | NoReply, tries: int, retries: Sequence[timedelta], now: datetime, rng: random.Random
) -> Verdict:
    """`tries` counts the attempt that this is the answer of. Only 2xx is success: a redirect is not
    followed, since where it leads was not agreed on."""
    match reply:
        case Reply(status=status, headers=headers, body=body):
            response = body[:RESPONSE_BYTES].decode("utf-8", "replace")
            if 200 <= status < 300:
                return Verdict(DeliveryState.DELIVERED, status, "", response)
            pause = _pause(headers, now) if status in _SLOW_DOWN else None
            if status == HTTPStatus.GONE:
                gone = "it answered 410 Gone: it wants no more"
                return Verdict(DeliveryState.FAILED, status, _said(status), response, gone=gone)
            return _failed(status, _said(status), response, _wait(tries, retries, rng), pause)
        case NotTaken(reason=reason) | InDoubt(reason=reason):
            return _failed(None, reason, "", _wait(tries, retries, rng), None)
        case Denied():
            # The name may lead elsewhere tomorrow, so it is tried like any other failure. Where it led today
            # is not said: an endpoint's owner must not learn the addresses of a private network from it.
            return _failed(None, _NOT_ALLOWED, "", _wait(tries, retries, rng), None)
        case Withheld():
            raise AssertionError("nothing withholds a webhook")
        case _:
            assert_never(reply)


def _failed(
    status: int | None, error: str, response: str, wait: timedelta | None, pause: timedelta | None
) -> Verdict:
    if wait is None:
        return Verdict(DeliveryState.FAILED, status, error, response, pause=pause)
    retry_in = wait if pause is None else max(wait, pause)
    return Verdict(DeliveryState.PENDING, status, error, response, retry_in, pause)


def _wait(tries: int, retries: Sequence[timedelta], rng: random.Random) -> timedelta | None:
    if tries > len(retries):
        return None
    return retries[tries - 1] * (1 + _JITTER * rng.random())


def _said(status: int) -> str:
    if 300 <= status < 400:
        return f"answered {status}: redirects are not followed, give the endpoint its final URL"
    try:
        return f"answered {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"answered {status}"


def _pause(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Retry-After, in seconds or as a date (RFC 9110 section 10.2.3); None for what says nothing."""
    text = headers.get("retry-after", "").strip()[:64]
    if text.isascii() and text.isdigit():
        asked = timedelta(seconds=min(int(text), MAX_PAUSE.total_seconds()))
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, IndexError, TypeError, OverflowError):
            return None
        asked = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    return min(asked, MAX_PAUSE) if asked > timedelta(0) else None

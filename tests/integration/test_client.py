"""posthouse.client against the real API, also over a line that breaks after the mail was accepted."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from api_house import ApiHouse, free_port, looking, mail, not_a_key, running_api

from posthouse.client import (
    ApiError,
    AsyncClient,
    Client,
    Conflict,
    InvalidRequest,
    NotAllowed,
    NotFound,
    Retries,
    Unavailable,
    Validation,
    answers,
    calls,
)
from posthouse.client.retries import Answer
from posthouse.client.wire import read
from posthouse.storage.db import Database, Wire

_QUERIES = "-- name: jobs\nSELECT count(*) FROM email_job;\n"
SOON = Retries(base=0.01, cap=0.05, rng=random.Random(1))


@pytest_asyncio.fixture
async def api(database: Database) -> AsyncIterator[ApiHouse]:
    async with running_api(database) as house:
        yield house


@pytest_asyncio.fixture
async def wire(pg_dsn: str) -> AsyncIterator[Wire]:
    async with looking(pg_dsn, _QUERIES) as opened:
        yield opened


async def test_a_mail_from_its_acceptance_to_its_cancellation(api: ApiHouse) -> None:
    later = datetime.now(UTC) + timedelta(hours=2)
    async with AsyncClient(api.base, key=api.secret) as client:
        accepted = await client.send(mail(scheduled_at=(later - timedelta(hours=1)).isoformat()))
        assert (accepted.status, accepted.replayed) == ("pending", False)
        assert [one.email for one in accepted.recipients] == ["p0@inbox.test"]
        await client.reschedule(accepted.id, later)
        assert (await client.get(accepted.id))["scheduled_at"] == later.isoformat().replace("+00:00", "Z")
        await client.cancel(accepted.id)
        assert [event["type"] async for event in client.events(accepted.id)] == ["accepted", "cancelled"]
        with pytest.raises(Conflict):
            await client.reschedule(accepted.id, later)


async def test_the_client_for_threads_does_the_same(api: ApiHouse) -> None:
    def use() -> list[str]:
        with Client(api.base, key=api.secret) as client:
            first = client.send(mail(1), idempotency_key="one")
            again = client.send(mail(1), idempotency_key="one")
            assert (again.id, again.replayed) == (first.id, True)
            batch = client.send_batch([mail(n) for n in range(2, 30)])
            assert len(batch.ids) == 28
            client.cancel(first.id)
            return [str(one["id"]) for one in client.emails(limit="10")]

    assert len(set(await asyncio.to_thread(use))) == 29


async def test_a_batch_says_which_of_its_mails_are_wrong(api: ApiHouse) -> None:
    mails = [mail(1), mail(2, to="nobody")]
    async with AsyncClient(api.base, key=api.secret) as client:
        batch = await client.send_batch(mails, validation=Validation.PERMISSIVE)
        assert len(batch.ids) == 1
        assert [(one.index, one.code) for one in batch.errors] == [(1, "invalid_address")]
        with pytest.raises(InvalidRequest) as raised:
            await client.send_batch(mails)
    assert [field.pointer for field in raised.value.fields] == ["/1/to"]


async def test_errors_are_of_the_kind_that_says_what_to_do(api: ApiHouse) -> None:
    async with AsyncClient(api.base, key=api.secret) as client:
        with pytest.raises(NotFound):
            await client.get("01a00000-0000-7000-8000-000000000000")
        with pytest.raises(InvalidRequest) as raised:
            await client.send(mail(subject=None))
        assert (raised.value.code, raised.value.status) == ("missing_required_field", 422)
        assert raised.value.request_id
        with pytest.raises(NotAllowed):
            await client.send({**mail(), "from": "a@elsewhere.example"})
    async with AsyncClient(api.base, key=not_a_key()) as stranger:
        with pytest.raises(NotAllowed):
            await stranger.send(mail())


@asynccontextmanager
async def breaking_line(base: str, breaks: int) -> AsyncIterator[str]:
    """A proxy that takes each request to the API, and hangs up instead of passing on the first answers."""
    port, target = free_port(), urlsplit(base)
    left = breaks

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        up_reader, up_writer = await asyncio.open_connection(target.hostname, target.port)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        up_writer.write(head + await reader.readexactly(length))
        answer = await up_reader.readuntil(b"\r\n\r\n")
        size = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await up_reader.readexactly(size)
        left -= 1
        if left < 0:
            writer.write(answer + body)
            await writer.drain()
        writer.close()
        up_writer.close()

    async with await asyncio.start_server(carry, "127.0.0.1", port):
        yield f"http://127.0.0.1:{port}"


async def test_an_answer_that_got_lost_is_asked_for_again_and_the_mail_is_one(
    api: ApiHouse, wire: Wire
) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with (
        breaking_line(api.base, 2) as line,
        AsyncClient(line, key=api.secret, retries=SOON, sleep=sleep) as client,
    ):
        accepted = await client.send(mail())
    assert accepted.replayed
    assert len(waits) == 2
    assert await wire.value(int, "jobs") == 1


async def test_a_house_that_is_away_is_said_to_be_after_the_last_try() -> None:
    waits: list[float] = []

    def use() -> None:
        with Client(f"http://127.0.0.1:{free_port()}", key="k", retries=SOON, sleep=waits.append) as client:
            client.send(mail())

    with pytest.raises(Unavailable, match="could not be reached"):
        await asyncio.to_thread(use)
    assert len(waits) == SOON.tries - 1


def _answer(status: int, code: str = "", **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, {"code": code})


@pytest.mark.parametrize("status", [408, 429, 500, 501, 502, 503, 504, 529])
def test_passing_trouble_is_waited_for(status: int) -> None:
    assert 0 <= SOON.wait_after(_answer(status), 1) <= SOON.base
    assert SOON.wait_after(_answer(status, retry_after="7"), 1) == 7.0


def test_a_key_in_use_is_waited_for_and_other_conflicts_are_not() -> None:
    assert SOON.wait_after(_answer(409, "idempotency_in_progress"), 1) >= 0
    with pytest.raises(Conflict):
        SOON.wait_after(_answer(409, "already_sending"), 1)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 415, 422])
def test_what_would_fail_again_is_not_tried_again(status: int) -> None:
    with pytest.raises(ApiError):
        SOON.wait_after(_answer(status), 1)


def test_a_house_that_says_tomorrow_is_not_waited_for() -> None:
    with pytest.raises(Unavailable):
        SOON.wait_after(_answer(503, retry_after="86400"), 1)


@pytest.mark.parametrize("base_url", ["127.0.0.1:8025", "ftp://mail.example", ""])
def test_an_address_without_its_scheme_is_refused_at_once(base_url: str) -> None:
    with pytest.raises(ValueError, match="with its scheme"):
        Client(base_url, key="k")


@pytest.mark.parametrize("body", [None, [], "text", {}, {"data": []}, {"id": "x", "status": "pending"}])
def test_what_somebody_else_answers_is_said_to_be_theirs(body: object) -> None:
    with pytest.raises(Unavailable, match="not Posthouse"):
        read(Answer(200, {}, body), lambda found: answers.accepted(found, replayed=False))


def test_an_id_from_outside_leads_to_no_other_route() -> None:
    assert calls.get("../keys?x=1").path == "/v1/emails/..%2Fkeys%3Fx%3D1"


def test_waits_grow_to_their_cap() -> None:
    patient = Retries(tries=99, base=1.0, cap=8.0, rng=random.Random(2))

    def longest(tried: int) -> float:
        return max(patient.wait_after(OSError("no"), tried) for _ in range(300))

    assert longest(1) <= 1.0 < longest(2) <= 2.0 < longest(3) <= 4.0
    assert longest(50) <= 8.0

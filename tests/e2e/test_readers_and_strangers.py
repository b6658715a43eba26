"""What people and strangers do to a running house: unsubscribing in the middle of a campaign, and garbage."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO

import msgspec
import pytest
import pytest_asyncio
from house_client import RECEIPT, Mail, mails
from house_config import SLOTS
from house_parts import until
from house_under_test import House, running_house_under_test

from posthouse.domain.job import Status
from posthouse.domain.stream import Stream
from posthouse.simulator.ledger import LedgerEntry
from posthouse.simulator.sendgrid_signing import load_signer
from posthouse.simulator.views import MessageView

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: What is in hand when somebody unsubscribes may still go out; nothing waits longer after its claim (P5).
IN_FLIGHT: float = 1.0  # seconds


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[House]:
    async with running_house_under_test() as running:
        yield running


# ---- unsubscribing while a campaign runs ------------------------------------------------------------------


async def test_nothing_is_begun_for_who_unsubscribed(house: House) -> None:
    reader = "ok-leaver-0@gmail.sim.test"
    await house.client.post(Mail(reader, Stream.MARKETING))
    await until("the first mail is there", lambda: len(house.arrived("leaver-")) == 1)
    link = await one_click_link(house, reader)
    await house.fault("slow", "sim-sendgrid", delay_ms=200)  # a backlog: 32 slots take 160 mails a second
    others = mails("run", 350, Stream.MARKETING)
    again = [Mail(reader, Stream.MARKETING, number=n) for n in range(1, 351)]
    crowd = [mail for pair in zip(again, others, strict=True) for mail in pair]
    async with house.client.posting(crowd):
        await until("the campaign runs", lambda: len(house.arrived("leaver-")) > 40)
        status = await post_one_click(house, link)
        left_at = time.time()
        receipt = await house.client.post(Mail(reader, Stream.TRANSACTIONAL))

    assert status == 200
    await house.settled()
    await house.clear_faults()
    await house.assert_clean()
    after = [entry.at - left_at for entry in house.arrived("leaver-ma") if entry.at > left_at]
    assert len(after) <= SLOTS  # what was in hand at that moment
    assert max(after, default=0.0) < IN_FLIGHT
    assert max(entry.at for entry in house.arrived("run-")) > left_at + IN_FLIGHT  # the others' went on
    told = await house.told_of("leaver")
    assert told.by_status[Status.SUPPRESSED] > 50
    assert told.arrivals[receipt.job_id] == 1  # unsubscribing stops marketing, never a receipt
    assert len((await house.told_of("run")).arrivals) == 350


async def one_click_link(house: House, reader: str) -> str:
    message = await newest_message(house, reader)
    headers = {name.lower(): value for name, value in message.headers}
    assert headers["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    return next(part.strip(" <>") for part in headers["list-unsubscribe"].split(",") if "http" in part)


async def newest_message(house: House, to: str) -> MessageView:
    session, url = house.simulator.session, house.simulator.url
    async with session.get(f"{url}/sim/messages", params={"to": to}) as response:
        entries = msgspec.json.decode(await response.read(), type=list[LedgerEntry])
    async with session.get(f"{url}/sim/messages/{entries[-1].n}") as response:
        return msgspec.json.decode(await response.read(), type=MessageView)


async def post_one_click(house: House, link: str) -> int:
    async with house.simulator.session.post(link, data={"List-Unsubscribe": "One-Click"}) as response:
        return response.status


# ---- templates -------------------------------------------------------------------------------------------


async def test_a_new_version_reaches_mail_that_is_already_scheduled(house: House) -> None:
    to = "ok-version-0@gmail.sim.test"
    later = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    promised = await house.client.post(Mail(to, Stream.TRANSACTIONAL, {"scheduled_at": later}))

    second = {"subject": "The second version", "html": "<p>Second, {{ order }}</p>", "publish": True}
    await house.client.api.must_post(f"/v1/templates/{RECEIPT['key']}/versions", second)

    await house.settled()
    message = await newest_message(house, to)
    assert "Second, ok-version-0" in message.html
    assert message.entry.subject == "The second version"
    shown = msgspec.json.decode(await house.client.api.get(f"/v1/emails/{promised.job_id}"), type=_Email)
    assert [e.template_version for e in shown.timeline if e.type == "sent"] == [2]


class _Event(msgspec.Struct):
    type: str
    template_version: int | None = None


class _Email(msgspec.Struct):
    timeline: list[_Event]


# ---- strangers -------------------------------------------------------------------------------------------

REQUESTS = 3_000
CALLERS = 24


async def test_garbage_while_mail_flows(house: House) -> None:
    """No answer of 5xx, no role dead, no mail stuck, and everybody's mail arrives."""
    lives = {name: len(part.ends) for name, part in house.parts.items()}
    answers: Counter[int] = Counter()
    strange = strange_requests(house, random.Random(4))

    async def call() -> None:
        for method, url, body, headers in strange:
            async with house.simulator.session.request(method, url, data=body, headers=headers) as response:
                answers[response.status] += 1

    async with house.client.posting(mails("garbage", 100)):
        await asyncio.gather(*(call() for _ in range(CALLERS)))

    assert answers.total() == REQUESTS
    assert not [status for status in answers if status >= 500], answers
    await house.settled()
    await house.assert_clean()
    assert len((await house.told_of("garbage")).arrivals) == 200
    assert lives == {name: len(part.ends) for name, part in house.parts.items()}


async def test_a_body_that_is_too_large(house: House) -> None:
    keyed = {"Authorization": f"Bearer {house.client.api.key}", "Content-Type": "application/json"}
    hook = "/hooks/sendgrid/sim-sendgrid"
    for path, headers, size in (
        ("/v1/emails", keyed, 51_000_000),
        (hook, {}, 11_000_000),
        (hook, {}, 3_000_000),
    ):
        body = b'{"text":"' + b"x" * size + b'"}'
        url = f"{house.client.api.url}{path}"
        async with house.simulator.session.post(url, data=BytesIO(body), headers=headers) as response:
            assert response.status == 413


async def test_garbage_that_is_signed(house: House) -> None:
    """A relay that talks nonsense under its own key is believed to have said it: each body has its reason."""
    rng = random.Random(5)
    signer = load_signer(house.folder / "simulator" / "sendgrid.pem")
    url = f"{house.client.api.url}/hooks/sendgrid/sim-sendgrid"
    before = await house.count("set_aside")
    for _ in range(200):
        body = rng.choice((b"", b"[", b"{}", b"[1,null]", b'[{"event":7}]', DEEP, rng.randbytes(60)))
        headers = signer.headers(str(int(time.time())), body)
        async with house.simulator.session.post(url, data=body, headers=headers) as response:
            assert response.status in (200, 400, 413)
    await house.client.post_all(mails("signed", 20, Stream.MARKETING))
    await house.settled()
    assert await house.count("set_aside") > before
    assert (await house.told_of("signed")).by_status == {Status.DELIVERED: 20}


async def test_what_is_not_http(house: House) -> None:
    rng = random.Random(6)
    ports = (house.settings.house.api_port, house.settings.house.track_port)
    for port in ports:
        for _ in range(50):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(rng.choice((b"GET / HTTP/9.9\r\n", b"\0" * 500, b"POST /v1/emails HTTP/1.1\r\n")))
            writer.write(rng.randbytes(200) + b"\r\n\r\n")
            with suppress(OSError):  # it may have hung up on us already
                writer.write_eof()
                assert not (await reader.read(20)).startswith(b"HTTP/1.1 5")
            writer.close()
    await house.client.post_all(mails("nothttp", 5))
    await house.settled()
    assert len((await house.told_of("nothttp")).arrivals) == 10


DEEP = b"[" * 50_000 + b"]" * 50_000

_BODIES = (
    b"",
    b"null",
    b"{",
    DEEP,
    b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    b'{"from":"Shop <orders@shop.example>","to":"a\\u0000b@gmail.sim.test","subject":"x","text":"y"}',
    b'{"from":"Shop <orders@shop.example>","to":"a@gmail.sim.test","subject":"a\\r\\nBcc: b","text":"y"}',
    b'{"from":"Shop <orders@shop.example>","to":"a@gmail.sim.test","subject":"\\ud800","text":"\\udfff"}',
    b'{"from":"Shop <orders@shop.example>","to":["a@gmail.sim.test"],"subject":1,"text":{}}',
    b'{"from":"x","to":"a@b","subject":"s","text":"t","headers":{"X\\nY":"z"}}',
    b'{"template":{"key":"receipt","variables":{"order":' + b"[" * 5_000 + b"]" * 5_000 + b"}}}",
    b"\xff\xfe\x00\x00",
)


def strange_requests(
    house: House, rng: random.Random
) -> Iterator[tuple[str, str, bytes | None, dict[str, str]]]:
    """Malformed, mistyped, nested, unsigned and random: to the API, the webhooks, the readers' pages."""
    api, track = house.client.api.url, house.track_url
    keyed = {"Authorization": f"Bearer {house.client.api.key}", "Content-Type": "application/json"}
    for _ in range(REQUESTS):
        body = rng.choice(_BODIES) if rng.random() < 0.6 else rng.randbytes(rng.randrange(300))
        word = "".join(rng.choices("abcDEF019_-%.~", k=rng.randrange(1, 60)))
        match rng.randrange(6):
            case 0 | 1:
                yield "POST", f"{api}/v1/emails", body, {**keyed, "Idempotency-Key": word}
            case 2:
                path = rng.choice(("templates", "suppressions", f"templates/{word}/versions"))
                yield "POST", f"{api}/v1/{path}", body, keyed
            case 3:
                yield "POST", f"{api}/hooks/sendgrid/sim-sendgrid", body, {"X-Strange": word}
            case 4:
                yield "GET", f"{api}/v1/emails/{word}", None, keyed
            case _:
                kind = rng.choice(("o", "c", "u", "c/x", ""))
                yield rng.choice(("GET", "POST", "PUT")), f"{track}/{kind}/{word}", body, {}

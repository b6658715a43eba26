"""GET /v1/emails over HTTP: every filter, pages in both directions, and what a key may see."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio
from api_house import ApiHouse, running_api
from stored_jobs import Eyes, Letter, accept, open_eyes

from posthouse.domain.ids import AddressKey, uuid7
from posthouse.domain.stream import Stream
from posthouse.storage import keys, listing
from posthouse.storage.db import Database
from posthouse.storage.keys import KeySecret
from posthouse.storage.suppressions import Place
from posthouse.web.api.cursor import to_cursor

MAIL = {"from": "Shop <orders@shop.example>", "to": "jane@inbox.test", "subject": "Hi", "text": "Hello"}
CAMPAIGN = UUID("01900000-0000-7000-8000-00000000c0de")


class Entry(msgspec.Struct):
    id: UUID
    message_id: UUID
    kind: str = msgspec.field(name="object")
    to: list[str]
    sender: str = msgspec.field(name="from")
    status: str
    last_event: str
    tags: list[dict[str, str]]


class Listed(msgspec.Struct):
    kind: str = msgspec.field(name="object")
    data: list[Entry]
    has_more: bool
    next_cursor: str | None

    @property
    def ids(self) -> list[UUID]:
        return [entry.id for entry in self.data]


@pytest_asyncio.fixture
async def api(database: Database) -> AsyncIterator[ApiHouse]:
    async with running_api(database) as house:
        yield house


@pytest_asyncio.fixture
async def eyes(pg_dsn: str) -> AsyncIterator[Eyes]:
    opened = await open_eyes(pg_dsn)
    yield opened
    await opened.close()


def with_key(api: ApiHouse, secret: str) -> ApiHouse:
    return replace(api, secret=KeySecret(secret))


async def listed(api: ApiHouse, /, **query: object) -> Listed:
    answer = await api.call("GET", f"/v1/emails?{urlencode(query, doseq=True)}")
    assert answer.status == 200, answer.body
    return msgspec.json.decode(answer.body, type=Listed)


async def walked(api: ApiHouse, /, **query: object) -> list[UUID]:
    """Ids of all pages, one after the other."""
    page = await listed(api, **query)
    ids = page.ids
    while page.has_more:
        page = await listed(api, cursor=page.next_cursor, **query)
        ids += page.ids
    assert page.next_cursor is None
    return ids


async def accepted(api: ApiHouse, /, **fields: object) -> UUID:
    answer = await api.call("POST", "/v1/emails", {**MAIL, **fields})
    assert answer.status == 202, answer.body
    return UUID(str(answer.json()["id"]))


async def set_status(eyes: Eyes, ids: Sequence[UUID], status: str) -> None:
    quoted = ", ".join(f"'{one}'" for one in ids)
    await eyes.run(f"UPDATE email_job SET status = '{status}' WHERE job_id IN ({quoted})")


async def test_an_entry_is_one_recipient_newest_first(api: ApiHouse) -> None:
    older = await accepted(api)
    newer = await accepted(
        api, to=["Ann <ann@inbox.test>"], bcc="eve@inbox.test", tags=[{"name": "kind", "value": "receipt"}]
    )
    page = await listed(api)
    assert (page.kind, page.has_more, page.next_cursor) == ("list", False, None)
    assert page.ids == sorted(page.ids, reverse=True)
    assert page.ids[-1] == older
    eve, ann = page.data[:2]
    assert (ann.id, ann.message_id, eve.message_id) == (newer, newer, newer)
    assert (ann.to, eve.to) == (["ann@inbox.test"], ["eve@inbox.test"])
    assert (ann.sender, ann.kind, ann.status, ann.last_event) == (MAIL["from"], "email", "pending", "queued")
    assert ann.tags == [{"name": "kind", "value": "receipt"}]


async def test_the_last_event_tells_of_what_people_did(api: ApiHouse, eyes: Eyes) -> None:
    one = await accepted(api)
    await eyes.run(
        "UPDATE email_job SET status = 'DELIVERED', opened_at = now() - interval '1 hour', clicked_at = now()"
    )
    (entry,) = (await listed(api)).data
    assert (entry.id, entry.status, entry.last_event) == (one, "delivered", "clicked")


async def test_every_filter_and_all_at_once(api: ApiHouse, eyes: Eyes) -> None:
    template = {"key": "welcome", "subject": "s", "text": "t", "publish": True}
    assert (await api.call("POST", "/v1/templates", template)).status == 201
    tags = [{"name": "kind", "value": "receipt"}, {"name": "shop", "value": "3"}]
    by_template = await api.call(
        "POST",
        "/v1/emails",
        {
            "from": "a@shop.example",
            "to": "J.D@Inbox.test",
            "template": {"key": "welcome"},
            "tags": tags,
        },
    )
    wanted = UUID(str(by_template.json()["id"]))
    tagged = await accepted(api, tags=tags[:1])
    plain = await accepted(api)
    marketing = (await accept(api.deps.database, [Letter(stream=Stream.MARKETING)]))[0]
    await eyes.run(
        f"UPDATE email_job SET status = 'BOUNCED', campaign_id = '{CAMPAIGN}' WHERE job_id = '{wanted}';"
        f"INSERT INTO email_term VALUES ('c:{CAMPAIGN}', '{wanted}')"
    )
    everything = {
        "recipient": "Jane <j.d@INBOX.test>",
        "tag": ["kind:receipt", "shop:3"],
        "status": "bounced,failed",
        "stream": "transactional",
        "template": "welcome",
        "campaign_id": CAMPAIGN,
        "since": datetime.now(UTC) - timedelta(hours=1),
        "until": datetime.now(UTC) + timedelta(hours=1),
    }
    for name in ("recipient", "tag", "status", "template", "campaign_id"):
        assert await walked(api, **{name: everything[name]}) == [wanted], name
    assert await walked(api, **everything) == [wanted]
    for name, other in {
        "recipient": "jane@inbox.test",
        "tag": "shop:4",
        "status": "pending",
        "stream": "marketing",
        "template": "none",
        "campaign_id": UUID(int=1),
        "since": datetime.now(UTC) + timedelta(minutes=5),
        "until": datetime.now(UTC) - timedelta(minutes=5),
    }.items():
        assert await walked(api, **{**everything, name: other}) == [], name
    assert await walked(api, tag="kind:receipt") == [tagged, wanted]
    assert await walked(api, stream="marketing") == [marketing]
    assert set(await walked(api, status="pending,sending")) == {tagged, plain, marketing}
    assert set(await walked(api, status="bounced,pending")) == {wanted, tagged, plain, marketing}


async def test_times_are_bounds_of_what_was_accepted(api: ApiHouse) -> None:
    one = await accepted(api)
    at = datetime.fromtimestamp((one.int >> 80) / 1000, UTC)
    step = timedelta(milliseconds=1)
    assert await walked(api, since=at, until=at + step) == [one]
    assert await walked(api, since=at + step) == []
    assert await walked(api, until=at) == []
    assert await walked(api, since=at - step, until=at) == []
    assert await walked(api, since="0001-01-01T00:00:00+14:00", until="9999-12-31T23:59:59-14:00") == [one]


ENDS = ("UNKNOWN", "BOUNCED", "FAILED", "SUPPRESSED", "CANCELLED", "EXPIRED")


@pytest.mark.parametrize(
    "status", [*ENDS, "PENDING", "SENDING", "QUEUED", "SENT", "DELIVERED"], ids=str.lower
)
async def test_each_status_is_found_among_others(api: ApiHouse, eyes: Eyes, status: str) -> None:
    ids = await accept(api.deps.database, [Letter()] * 9)
    await set_status(eyes, ids, "FAILED" if status == "DELIVERED" else "DELIVERED")
    await set_status(eyes, ids[2:7], status)
    assert await walked(api, status=status.lower(), limit=2) == sorted(ids[2:7], reverse=True)


async def test_ends_of_several_kinds_are_one_list(api: ApiHouse, eyes: Eyes) -> None:
    ids = sorted(await accept(api.deps.database, [Letter()] * 18))
    for n, job_id in enumerate(ids):
        await set_status(eyes, [job_id], ENDS[n % len(ENDS)])
    mixed = [job_id for n, job_id in enumerate(ids) if ENDS[n % len(ENDS)] != "FAILED"]
    statuses = ",".join(end.lower() for end in ENDS if end != "FAILED")
    assert await walked(api, status=statuses, limit=4) == mixed[::-1]


async def test_a_walk_gives_every_mail_once_while_new_ones_come(api: ApiHouse) -> None:
    before = [await accepted(api, tags=[{"name": "n", "value": str(n % 2)}]) for n in range(30)]
    stop = asyncio.Event()

    async def go_on_accepting() -> None:
        while not stop.is_set():
            await accepted(api, tags=[{"name": "n", "value": "0"}])

    accepting = asyncio.create_task(go_on_accepting())
    lists: list[tuple[dict[str, str], list[UUID]]] = [
        ({}, before),
        ({"tag": "n:0"}, before[::2]),
        ({"status": "pending"}, before),
    ]
    for query, expected in lists:
        ids = await walked(api, limit=7, **query)
        assert len(set(ids)) == len(ids)
        assert ids == sorted(ids, reverse=True)
        assert [one for one in ids if one <= before[-1]] == expected[::-1]
    stop.set()
    await accepting


async def test_pages_go_both_ways_from_a_mail(api: ApiHouse) -> None:
    ids = sorted(await accept(api.deps.database, [Letter()] * 10), reverse=True)
    after = await listed(api, after=ids[3], limit=3)
    assert (after.ids, after.has_more) == (ids[4:7], True)
    assert (await listed(api, cursor=after.next_cursor, limit=3)).ids == ids[7:]
    before = await listed(api, before=ids[6], limit=4)
    assert (before.ids, before.has_more) == (ids[2:6], True)
    newest = await listed(api, cursor=before.next_cursor, limit=4)
    assert (newest.ids, newest.has_more) == (ids[:2], False)
    for query in ({"recipient": "ann@inbox.test"}, {"status": "pending"}):
        assert (await listed(api, before=ids[6], limit=4, **query)).ids == ids[2:6]


async def test_a_short_page_goes_on_where_its_search_ended(
    api: ApiHouse, eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What hardly any mail matches: pages are short or empty, and together complete."""
    monkeypatch.setattr(listing, "BUDGET", 10)
    ids = sorted(await accept(api.deps.database, [Letter()] * 40))
    rare = [ids[3], ids[31]]
    await set_status(eyes, rare, "SENT")
    first = await listed(api, status="sent", limit=4)
    assert (first.ids, first.has_more) == ([ids[31]], True)
    second = await listed(api, status="sent", limit=4, cursor=first.next_cursor)
    assert (second.ids, second.has_more) == ([], True)
    for query in ({}, {"recipient": "ann@inbox.test"}):
        assert await walked(api, status="sent", limit=4, **query) == rare[::-1]


async def test_the_narrowest_of_two_filters_leads(
    api: ApiHouse, eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wide tag with a rare one, or with a rare end, in whatever order, is one page and not many."""
    monkeypatch.setattr(listing, "BUDGET", 10)
    wide = {"name": "wide", "value": "1"}
    ids = [await accepted(api, tags=[wide, {"name": f"t{n}", "value": "1"}]) for n in range(25)]
    await set_status(eyes, [ids[1]], "CANCELLED")
    for query in ({"tag": ["wide:1", "t1:1"]}, {"tag": "wide:1", "status": "cancelled"}):
        for place in ({}, {"before": ids[0]}):
            page = await listed(api, limit=4, **query, **place)
            assert (page.ids, page.has_more) == ([ids[1]], False)


async def test_a_queue_too_long_to_be_sorted_is_walked(
    api: ApiHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_FEW", 5)
    ids = sorted(await accept(api.deps.database, [Letter()] * 20), reverse=True)
    assert await walked(api, status="pending", limit=6) == ids


async def test_a_key_sees_what_it_could_have_sent(api: ApiHouse, eyes: Eyes) -> None:
    shop = await accepted(api)
    named = await accepted(api, **{"from": '"x@help.example" <a@shop.example>'})
    helper = await accepted(api, **{"from": "help@help.example"})
    news = (await accept(api.deps.database, [Letter(stream=Stream.MARKETING)]))[0]
    everything = {shop, named, helper, news}
    marketing = await api.another_key(stream=Stream.MARKETING)
    of_help = await api.another_key(from_domains=["help.example"])
    both = await api.another_key(stream=Stream.MARKETING, from_domains=["help.example"])
    assert set(await walked(api)) == everything
    for secret, visible in ((marketing, {news}), (of_help, {helper}), (both, set[UUID]())):
        assert set(await walked(with_key(api, secret), limit=1)) == visible
        for query in ({"status": "pending"}, {"recipient": "jane@inbox.test"}, {"stream": "transactional"}):
            found = set(await walked(with_key(api, secret), **query))
            assert found == visible & set(await walked(api, **query))
    await set_status(eyes, list(everything), "FAILED")
    assert await walked(with_key(api, of_help), status="failed") == [helper]


async def test_test_keys_see_sandboxed_mail_and_live_keys_the_rest(api: ApiHouse) -> None:
    _, testing = await keys.create(
        api.deps.database,
        name="testing",
        stream=None,
        from_domains=[],
        now=datetime.now(UTC),
        random_bytes=secrets.token_bytes,
        sandbox=True,
    )
    live, sandboxed = await accepted(api), await accepted(with_key(api, testing))
    for query in ({}, {"recipient": "jane@inbox.test"}, {"status": "pending"}):
        assert await walked(api, **query) == [live]
        assert await walked(with_key(api, testing), **query) == [sandboxed]


async def test_a_cursor_is_good_for_its_own_list_only(api: ApiHouse) -> None:
    await accept(api.deps.database, [Letter()] * 3)
    cursor = (await listed(api, limit=1)).next_cursor
    other_key = await api.another_key(stream=Stream.TRANSACTIONAL)
    for query, secret in (("status=pending&", None), ("tag=a:b&", None), ("", other_key)):
        answer = await api.call("GET", f"/v1/emails?{query}cursor={cursor}", secret=secret)
        assert (answer.status, answer.code) == (422, "invalid_cursor")
    assert len((await listed(api, limit=100, cursor=cursor)).data) == 2  # another size is the same list


HOSTILE = (
    "cursor=",
    "cursor=x",
    "cursor=%00",
    "cursor=" + "W" * 4000,
    "cursor=" + to_cursor({"at": "x", "way": "older", "of": ""}),
    "cursor=" + to_cursor({"at": str(UUID(int=1)), "way": "sideways", "of": ""}),
    "cursor=" + to_cursor(Place(datetime(2026, 1, 1, tzinfo=UTC), AddressKey("a"), "", "")),
    "after=x",
    "after=",
    "before=%00",
    f"after={UUID(int=1)}&before={UUID(int=1)}",
    "status=",
    "status=PENDING",
    "status=pending,",
    "status=%00",
    "recipient=",
    "recipient=nobody",
    "recipient=%00@b.test",
    "recipient=" + "a" * 2000 + "@b.test",
    "tag=",
    "tag=kind",
    "tag=a:b:c",
    "tag=a=b:c",
    "tag=a:%00",
    "&".join(f"tag=a:{n}" for n in range(11)),
    "stream=other",
    "template=%00",
    "campaign_id=1",
    "since=yesterday",
    "since=2026-01-01T00:00:00",
    "since=2026-01-01T00:00:00+01:00",  # a plus is a space
    "until=%00",
    "status=sent&status=bounced",
    "recipent=jane@inbox.test",
)


@pytest.mark.parametrize("query", HOSTILE)
async def test_what_is_no_filter_is_refused_in_words(api: ApiHouse, query: str) -> None:
    answer = await api.call("GET", f"/v1/emails?{query}")
    assert answer.status == 422, answer.body
    assert answer.json()["detail"]


async def test_bounds_of_ids_and_sizes(api: ApiHouse) -> None:
    one = await accepted(api)
    for limit in ("0", "101", "x", "-1", "1e3"):
        assert (await api.call("GET", f"/v1/emails?limit={limit}")).status == 400
    assert (await listed(api, limit=100)).ids == [one]
    assert (await listed(api, after=UUID(int=(1 << 128) - 1))).ids == [one]
    assert (await listed(api, after=UUID(int=0))).ids == []
    assert (await listed(api, before=UUID(int=0))).ids == [one]
    assert (await listed(api, before=UUID(int=(1 << 128) - 1))).ids == []
    assert (await listed(api, after=uuid7((one.int >> 80) + 1, 0))).ids == [one]

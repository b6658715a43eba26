"""Lists of suppressions over HTTP: stored while they arrive, whatever becomes of the client."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec
import pytest
import pytest_asyncio
from api_house import Answer, ApiHouse, running_api

from posthouse.domain.ids import AddressKey
from posthouse.intake.suppression_import import SET_LINES, Imported, SuppressionImport
from posthouse.intake.suppression_lines import ListFormat
from posthouse.storage import suppressions
from posthouse.storage.db import Database

Fields = dict[str, object]

MANY = 100_000


@pytest_asyncio.fixture
async def api(database: Database) -> AsyncIterator[ApiHouse]:
    async with running_api(database) as house:
        yield house


async def send(api: ApiHouse, body: bytes, media_type: str = "text/plain") -> Answer:
    return await api.call("POST", "/v1/suppressions/bulk", raw=body, headers={"content-type": media_type})


async def entry(api: ApiHouse, address: str) -> Fields:
    found = (await api.call("GET", f"/v1/suppressions/{address}")).json()
    (one,) = msgspec.convert(found["suppressions"], list[Fields])
    return one


def addresses(numbers: range) -> bytes:
    return "".join(f"p{n}@inbox.test\n" for n in numbers).encode()


async def test_a_hundred_thousand_lines_are_stored(api: ApiHouse) -> None:
    answer = await send(api, addresses(range(MANY)))
    assert (answer.status, answer.json()) == (200, {"added": MANY, "already": 0, "invalid": 0, "errors": []})
    again = await send(api, addresses(range(MANY - 500, MANY + 500)))
    assert again.json() == {"added": 500, "already": 500, "invalid": 0, "errors": []}


async def test_a_list_is_never_held_whole(database: Database) -> None:
    importing = SuppressionImport(database, ListFormat.ADDRESSES, datetime.now(UTC), random.Random(1))
    held = []

    async def chunks() -> AsyncIterator[bytes]:
        for first in range(0, 20_000, 700):
            held.append(importing.held)
            yield addresses(range(first, min(first + 700, 20_000)))

    done = await importing.run(chunks())
    assert (done.added, done.already, done.invalid) == (20_000, 0, 0)
    assert 0 < max(held) < SET_LINES


async def test_each_format_says_what_was_stored_and_what_was_wrong(api: ApiHouse) -> None:
    plain = await send(api, b"\xef\xbb\xbfA@one.test\r\n\r\nnobody\r\na@ONE.test\r\n\x00\n")
    counted = plain.json()
    assert (counted["added"], counted["already"], counted["invalid"]) == (1, 1, 2)
    assert [bad["line"] for bad in msgspec.convert(counted["errors"], list[Fields])] == [3, 5]
    stored = await entry(api, "a@one.test")
    assert (stored["reason"], stored["source"], stored["scope"]) == ("MANUAL", "import", "all")
    table = b"address,reason,note\nb@one.test,BOUNCE,from the old house\n"
    assert (await send(api, table, 'text/csv; charset="UTF-8"')).json()["added"] == 1
    assert (await entry(api, "b@one.test"))["note"] == "from the old house"
    objects = b'{"address": "c@one.test", "reason": "UNSUBSCRIBE"}\n{"address": "c@one.test"'
    assert (await send(api, objects, "application/x-ndjson")).json()["invalid"] == 1
    assert (await entry(api, "c@one.test"))["scope"] == "marketing"
    assert (await send(api, b"")).json() == {"added": 0, "already": 0, "invalid": 0, "errors": []}


async def test_only_the_first_errors_are_listed(api: ApiHouse) -> None:
    counted = (await send(api, b"a@b.test\n" + b"nobody\n" * 2500)).json()
    assert (counted["added"], counted["invalid"]) == (1, 2500)
    assert len(msgspec.convert(counted["errors"], list[Fields])) == 100


async def test_the_end_of_an_entry_never_moves_nearer(api: ApiHouse) -> None:
    header = "address,expires_at\n"
    for until, ends in (
        ("2030-01-01T00:00:00Z", "2030-01-01T00:00:00Z"),
        ("2029-01-01T00:00:00Z", "2030-01-01T00:00:00Z"),
        ("2031-01-01T00:00:00Z", "2031-01-01T00:00:00Z"),
        ("", None),
        ("2040-01-01T00:00:00Z", None),
    ):
        body = f"{header}a@b.test,2028-01-01T00:00:00Z\na@b.test,{until}\n"
        assert (await send(api, body.encode(), "text/csv")).status == 200
        assert (await entry(api, "a@b.test"))["expires_at"] == ends


async def test_what_is_no_list_is_refused(api: ApiHouse) -> None:
    for media_type in ("application/json", "text/html", "text/plain; charset=latin-1", ""):
        answer = await send(api, b"a@b.test", media_type)
        assert (answer.status, answer.code) == (415, "unsupported_media_type")
    refused = await send(api, b"email\na@b.test", "text/csv")
    assert (refused.status, refused.code) == (422, "invalid_header_line")
    assert (await api.call("GET", "/v1/suppressions")).json()["data"] == []


async def test_two_lists_of_the_same_addresses_do_not_block_each_other(api: ApiHouse) -> None:
    there, back = addresses(range(3000)), addresses(range(2999, -1, -1))
    answers = await asyncio.gather(*(send(api, body) for body in (there, back, there, back)))
    assert [answer.status for answer in answers] == [200] * 4
    assert sum(msgspec.convert(answer.json()["added"], int) for answer in answers) == 3000


async def test_entries_of_one_import_are_paged_by_any_filter(api: ApiHouse) -> None:
    table = "address,reason,scope\n" + "".join(
        f"p{n}@inbox.test,{'BOUNCE' if n % 2 else 'MANUAL'},{'marketing' if n % 3 else 'all'}\n"
        for n in range(30)
    )
    assert (await send(api, table.encode(), "text/csv")).json()["added"] == 30
    assert (await api.call("POST", "/v1/suppressions", {"address": "late@inbox.test"})).status == 201
    everything = {f"p{n}@inbox.test" for n in range(30)}
    assert await paged(api, "") == ["late@inbox.test", *sorted(everything)]
    bounced = sorted(f"p{n}@inbox.test" for n in range(1, 30, 2))
    assert await paged(api, "&reason=BOUNCE") == bounced
    assert await paged(api, "&scope=all&reason=BOUNCE") == sorted(f"p{n}@inbox.test" for n in range(3, 30, 6))
    assert await paged(api, "&scope=all") == [
        "late@inbox.test",
        *sorted(f"p{n}@inbox.test" for n in range(0, 30, 3)),
    ]
    assert await paged(api, "&address=p4@inbox.test&scope=marketing") == ["p4@inbox.test"]
    assert await paged(api, "&address=p4@inbox.test&reason=BOUNCE") == []


async def paged(api: ApiHouse, query: str) -> list[object]:
    """The addresses of a list, read in pages of four."""
    found: list[object] = []
    cursor = ""
    while True:
        page = (await api.call("GET", f"/v1/suppressions?limit=4{query}{cursor}")).json()
        found += [entry["address"] for entry in msgspec.convert(page["data"], list[Fields])]
        if not page["has_more"]:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def test_a_client_that_leaves_half_way_leaves_what_was_stored(api: ApiHouse) -> None:
    place = urlsplit(api.base)
    _, writer = await asyncio.open_connection(place.hostname, place.port)
    head = (
        f"POST /v1/suppressions/bulk HTTP/1.1\r\nHost: {place.netloc}\r\n"
        f"Authorization: Bearer {api.secret}\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n"
    )
    writer.write(head.encode() + addresses(range(2500)))
    await writer.drain()
    async with asyncio.timeout(30):
        while True:
            if await stored(api, "p1999@inbox.test"):
                break
            await asyncio.sleep(0.01)
    writer.close()
    assert not await stored(api, "p2000@inbox.test")
    rest = await send(api, addresses(range(2500)))
    assert (rest.status, rest.json()["added"]) == (200, 500)


async def stored(api: ApiHouse, address: str) -> bool:
    return bool(await suppressions.entries_of(api.deps.database, AddressKey(address)))


async def test_how_far_a_list_came_is_known_when_it_breaks(database: Database) -> None:
    importing = SuppressionImport(database, ListFormat.ADDRESSES, datetime.now(UTC), random.Random(1))

    async def broken() -> AsyncIterator[bytes]:
        yield addresses(range(1500))
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await importing.run(broken())
    assert importing.done == Imported(through=SET_LINES, added=SET_LINES)

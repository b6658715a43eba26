"""/v1/keys, what keys may do, when they were used, how fast they may ask, and their end."""

import asyncio
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from api_house import Answer, ApiHouse, create_key, free_port, running_api, until_listening

from posthouse.app.role import Part
from posthouse.app.roles import api as api_role
from posthouse.cli.docs.settings import LEAST_STREAM
from posthouse.config import settings_from
from posthouse.domain.stream import Stream
from posthouse.storage import keys
from posthouse.storage.db import Database
from posthouse.storage.keys import ApiKey, KeyScope, KeySecret
from posthouse.web.api.auth import MEMORY
from posthouse.web.api.rate_limit import RateLimit

MAIL = {"from": "Shop <orders@shop.example>", "to": "jane@inbox.test", "subject": "Hi", "text": "Hello"}
ALL = ["manage", "read", "send"]


@pytest_asyncio.fixture
async def api(database: Database) -> AsyncIterator[ApiHouse]:
    async with running_api(database) as house:
        yield house


async def make(api: ApiHouse, secret: str | None = None, **fields: object) -> Answer:
    return await api.call(
        "POST", "/v1/keys", {"name": "of a test", "scopes": ["send"], **fields}, secret=secret
    )


async def listed(api: ApiHouse, secret: str | None = None, query: str = "") -> list[dict[str, object]]:
    answer = await api.call("GET", f"/v1/keys{query}", secret=secret)
    assert answer.status == 200
    return msgspec.convert(answer.json()["data"], list[dict[str, object]])


# ---- made, listed, revoked ---------------------------------------------------------------------------------


async def test_a_new_key_is_shown_once_and_works(api: ApiHouse) -> None:
    made = (
        await make(api, scopes=["send", "read"], stream="transactional", from_domains=["SHOP.example"])
    ).json()
    secret = made.pop("key")
    assert isinstance(secret, str)
    assert secret.startswith("ph_live_")
    assert (await api.call("POST", "/v1/emails", MAIL, secret=secret)).status == 202
    newest, ours = await listed(api)
    assert (newest, ours["id"]) == (made, str(api.key.api_key_id))
    assert {name: made[name] for name in ("scopes", "stream", "from_domains", "environment")} == {
        "scopes": ["read", "send"],
        "stream": "transactional",
        "from_domains": ["shop.example"],
        "environment": "live",
    }
    assert (made["last_used_at"], made["revoked_at"]) == (None, None)


async def test_a_test_key_says_so(api: ApiHouse) -> None:
    made = (await make(api, environment="test")).json()
    assert (made["environment"], str(made["key"])[:8]) == ("test", "ph_test_")


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "a\x00b"}, "/name"),
        ({"name": "x" * 201}, "/name"),
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["root"]}, "/scopes/0"),
        ({"stream": "other"}, "/stream"),
        ({"from_domains": ["shop.example", "not a domain"]}, "/from_domains/1"),
        ({"environment": "staging"}, "/environment"),
        ({"key": "ph_live_mine"}, "/key"),
    ],
)
async def test_a_key_that_makes_no_sense_is_refused(
    api: ApiHouse, fields: Mapping[str, object], pointer: str
) -> None:
    answer = await make(api, None, **fields)
    assert (answer.status, answer.pointer) == (422, pointer)
    assert len(await keys.list_all(api.deps.database)) == 1


async def test_pages_go_through_all_keys(api: ApiHouse) -> None:
    ids = [(await make(api, name=str(n))).json()["id"] for n in range(5)]
    page = (await api.call("GET", "/v1/keys?limit=2")).json()
    seen = [key["id"] for key in msgspec.convert(page["data"], list[dict[str, object]])]
    while page["has_more"]:
        page = (await api.call("GET", f"/v1/keys?limit=2&cursor={page['next_cursor']}")).json()
        seen += [key["id"] for key in msgspec.convert(page["data"], list[dict[str, object]])]
    assert sorted(map(str, seen)) == sorted([*map(str, ids), str(api.key.api_key_id)])
    assert seen == sorted(map(str, seen), reverse=True)
    assert (await api.call("GET", "/v1/keys?cursor=x")).code == "invalid_cursor"


async def test_a_revoked_key_is_refused_at_once_here_and_within_its_memory_elsewhere(
    database: Database,
) -> None:
    async with running_api(database) as here, running_api(database) as there:
        made = (await make(here)).json()
        secret = str(made["key"])
        for house in (here, there):
            assert (await house.call("POST", "/v1/emails", MAIL, secret=secret)).status == 202
        revoked = await here.call("DELETE", f"/v1/keys/{made['id']}")
        assert (revoked.status, revoked.json()) == (200, {"id": made["id"], "revoked": True})
        assert (await here.call("POST", "/v1/emails", MAIL, secret=secret)).code == "invalid_api_key"
        there.clock.advance(MEMORY)
        assert (await there.call("POST", "/v1/emails", MAIL, secret=secret)).code == "invalid_api_key"
        assert MEMORY < 5.0
        assert (await here.call("DELETE", f"/v1/keys/{made['id']}")).code == "not_found"
        assert [key["revoked_at"] is not None for key in await listed(here)] == [True, False, False]


async def test_what_is_no_key_cannot_be_revoked(api: ApiHouse) -> None:
    for key_id in ("x", "00000000-0000-0000-0000-000000000000"):
        assert (await api.call("DELETE", f"/v1/keys/{key_id}")).status == 404


# ---- no key makes, sees or ends one that may do more than itself -------------------------------------------


@pytest.mark.parametrize("scope", [KeyScope.SEND, KeyScope.READ])
async def test_keys_are_for_those_who_manage(api: ApiHouse, scope: KeyScope) -> None:
    secret = await api.another_key(scopes=frozenset({scope}))
    assert (await make(api, secret)).code == "restricted_api_key"
    assert (await api.call("GET", "/v1/keys", secret=secret)).code == "restricted_api_key"
    path = f"/v1/keys/{api.key.api_key_id}"
    assert (await api.call("DELETE", path, secret=secret)).code == "restricted_api_key"


@pytest.mark.parametrize(
    ("giver", "asked", "pointer"),
    [
        ({"scopes": frozenset({KeyScope.MANAGE, KeyScope.READ})}, {"scopes": ["read", "send"]}, "/scopes/1"),
        ({"stream": Stream.MARKETING}, {"stream": "transactional"}, "/stream"),
        (
            {"from_domains": ["shop.example"]},
            {"from_domains": ["shop.example", "x.example"]},
            "/from_domains",
        ),
        ({"sandbox": True}, {"environment": "live"}, "/environment"),
    ],
)
async def test_a_key_cannot_make_one_that_may_do_more(
    api: ApiHouse, giver: dict[str, object], asked: dict[str, object], pointer: str
) -> None:
    _, secret = await restricted(api, giver)
    answer = await make(api, secret, **{"scopes": ["manage"], **asked})
    assert (answer.status, answer.code, answer.pointer) == (403, "more_than_this_key", pointer)


async def test_what_is_left_out_is_as_for_the_key_that_asks(api: ApiHouse) -> None:
    giver, secret = await restricted(
        api, {"stream": Stream.MARKETING, "from_domains": ["news.shop.example"], "sandbox": True}
    )
    await make(api, secret, scopes=["read"])
    found = (await keys.list_all(api.deps.database))[0]
    assert (found.scopes, found.stream, found.from_domains, found.sandbox) == (
        frozenset({KeyScope.READ}),
        giver.stream,
        giver.from_domains,
        True,
    )


async def test_a_key_sees_and_ends_only_those_that_may_do_no_more(api: ApiHouse) -> None:
    kinds: list[dict[str, object]] = [
        {},
        {"scopes": frozenset({KeyScope.MANAGE})},
        {"stream": Stream.MARKETING},
        {"from_domains": ["shop.example"]},
        {"from_domains": ["shop.example", "help.example"]},
        {"sandbox": True},
    ]
    made = [await restricted(api, kind) for kind in kinds]
    for giver, secret in made:
        seen = {str(key["id"]) for key in await listed(api, secret)}
        allowed = {str(key.api_key_id) for key, _ in made if no_more(key, giver)}
        assert seen - {str(api.key.api_key_id)} == allowed
    for giver, secret in made[1:]:
        for key, _ in made:
            if not no_more(key, giver):
                answer = await api.call("DELETE", f"/v1/keys/{key.api_key_id}", secret=secret)
                assert answer.status == 404


def no_more(key: ApiKey, giver: ApiKey) -> bool:
    return (
        key.scopes <= giver.scopes
        and giver.stream in (None, key.stream)
        and (not giver.from_domains or (bool(key.from_domains) and key.from_domains <= giver.from_domains))
        and (key.sandbox or not giver.sandbox)
    )


async def restricted(api: ApiHouse, to: Mapping[str, object]) -> tuple[ApiKey, KeySecret]:
    return await create_key(
        api.deps.database,
        msgspec.convert(to.get("stream"), Stream | None),
        msgspec.convert(to.get("from_domains", []), list[str]),
        scopes=msgspec.convert(to.get("scopes", set(KeyScope)), frozenset[KeyScope]),
        sandbox=msgspec.convert(to.get("sandbox", False), bool),
    )


# ---- last used ---------------------------------------------------------------------------------------------


async def test_when_a_key_was_used_is_stored_to_the_minute(api: ApiHouse) -> None:
    api.clock.advance(90)
    await api.call("GET", "/v1/emails/x")
    assert [key["last_used_at"] for key in await listed(api)] == [None]
    await api.deps.keys.write_uses()
    (key,) = await keys.list_all(api.deps.database)
    assert key.last_used_at == api.clock.now().replace(second=0)
    await api.deps.keys.write_uses()  # nothing new to store


async def test_an_earlier_use_noted_elsewhere_changes_nothing(database: Database, api: ApiHouse) -> None:
    at = api.clock.now()
    await keys.mark_used(database, {api.key.api_key_id: at + timedelta(hours=1)})
    await keys.mark_used(database, {api.key.api_key_id: at})
    await keys.mark_used(database, {})
    (key,) = await keys.list_all(database)
    assert key.last_used_at == at + timedelta(hours=1)


# ---- how fast ----------------------------------------------------------------------------------------------


async def test_a_key_above_its_rate_is_told_when_to_come_back(database: Database) -> None:
    async with running_api(database, RateLimit(per_second=0.5, burst=3)) as api:
        other = await api.another_key()
        first = await api.call("POST", "/v1/emails", MAIL)
        assert first.status == 202
        assert first.headers["RateLimit-Policy"] == '"default";q=3;w=6'
        assert first.headers["RateLimit"] == '"default";r=2;t=2'
        assert (await api.call("GET", "/v1/emails/x")).headers["RateLimit-Remaining"] == "1"
        refused = await api.call("PATCH", "/v1/emails/x/y/z")
        assert "RateLimit-Limit" not in refused.headers  # nobody asked whose it is
        assert (await api.call("POST", "/v1/emails", {})).headers["RateLimit-Remaining"] == "0"
        above = await api.call("POST", "/v1/emails", MAIL)
        assert (above.status, above.code, above.json()["name"]) == (429, *["rate_limit_exceeded"] * 2)
        assert (above.headers["Retry-After"], above.headers["RateLimit-Reset"]) == ("2", "6")
        assert (await api.call("POST", "/v1/emails", MAIL, secret=other)).status == 202
        api.clock.advance(2.0)
        assert (await api.call("POST", "/v1/emails", MAIL)).status == 202
        assert (await api.call("POST", "/v1/emails", MAIL)).status == 429


async def test_who_has_no_valid_key_is_not_counted(database: Database) -> None:
    async with running_api(database, RateLimit(per_second=0.5, burst=1)) as api:
        for _ in range(3):
            answer = await api.call("POST", "/v1/emails", MAIL, secret="ph_live_x")
            assert (answer.status, "RateLimit" in answer.headers) == (403, False)
        assert (await api.call("POST", "/v1/emails", MAIL)).status == 202


@asynccontextmanager
async def role_that_was_asked(database: Database, pg_dsn: str, folder: Path) -> AsyncIterator[None]:
    """The API's role, after one request with the only key there is; told to stop and awaited at the end."""
    _, secret = await create_key(database, None, [])
    port, stop = free_port(), asyncio.Event()
    table = tomllib.loads("".join(LEAST_STREAM.format(name=stream) for stream in Stream))
    house = {"data_dir": str(folder), "api_port": port}
    settings = settings_from({**table, "house": house, "database": {"url": pg_dsn}}, "a test")
    role = asyncio.create_task(api_role.run(settings, Part(), stop))
    await until_listening(port)
    url, headers = f"http://127.0.0.1:{port}/v1/emails/x", {"Authorization": f"Bearer {secret}"}
    async with aiohttp.ClientSession() as client, client.get(url, headers=headers) as response:
        assert (response.status, response.headers["RateLimit-Limit"]) == (404, "10000")
    yield
    stop.set()
    await role


async def test_the_role_stores_uses_while_it_runs(
    database: Database, pg_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_role, "KEY_USES_EVERY", 0.02)
    async with role_that_was_asked(database, pg_dsn, tmp_path), asyncio.timeout(20):
        while [key.last_used_at for key in await keys.list_all(database)] == [None]:  # noqa: ASYNC110  # only the database knows
            await asyncio.sleep(0.01)


async def test_the_role_stores_uses_when_it_ends(database: Database, pg_dsn: str, tmp_path: Path) -> None:
    async with role_that_was_asked(database, pg_dsn, tmp_path):
        assert [key.last_used_at for key in await keys.list_all(database)] == [None]
    (key,) = await keys.list_all(database)
    assert key.last_used_at is not None
    assert datetime.now(UTC) - key.last_used_at < timedelta(minutes=5)

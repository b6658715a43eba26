"""Errors as clients expect them: the body, the type they asked for, and the headers around every answer."""

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio
import structlog
from api_house import ApiHouse, free_port, not_a_key, running_api, until_listening
from structlog.testing import capture_logs

from posthouse.storage.db import Database
from posthouse.web.application import build_api
from posthouse.web.granian_server import serve_on_granian

MAIL = {"from": "Shop <orders@shop.example>", "to": "jane@inbox.test", "subject": "Hi", "text": "Hello"}
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest_asyncio.fixture
async def api(database: Database) -> AsyncIterator[ApiHouse]:
    async with running_api(database) as house:
        yield house


async def test_a_problem_says_it_in_both_languages(api: ApiHouse) -> None:
    answer = await api.call("POST", "/v1/emails", {**MAIL, "to": "nobody"})
    problem = answer.json()
    assert problem == {
        "type": "urn:posthouse:problem:invalid_address",
        "title": "Unprocessable Content",
        "status": 422,
        "detail": problem["detail"],
        "instance": answer.headers["x-request-id"],
        "code": "invalid_address",
        "statusCode": 422,
        "name": "validation_error",
        "message": f"/to: {problem['detail']}",
        "errors": [{"pointer": "/to", "code": "invalid_address", "detail": problem["detail"]}],
    }


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "application/problem+json"),
        ("", "application/problem+json"),
        ("text/html", "application/problem+json"),
        ("application/json", "application/json"),
        ("Application/JSON; q=0.9, */*", "application/json"),
        ("application/json, application/problem+json", "application/problem+json"),
        ("application/problem+json", "application/problem+json"),
        (",;,application/jsonx,", "application/problem+json"),
    ],
)
async def test_a_client_that_asks_for_plain_json_gets_it(api: ApiHouse, accept: str, media_type: str) -> None:
    paths = ("/v1/emails/x", "/v1/nothing", "/nothing", "/v1/suppressions?limit=0")
    for path in paths:
        answer = await api.call("GET", path, headers={"Accept": accept})
        assert (path, answer.headers["content-type"]) == (path, media_type)


async def test_each_error_has_the_name_that_resends_clients_know(api: ApiHouse) -> None:
    unknown = {"authorization": f"Bearer {not_a_key()}"}
    expected: list[tuple[str, str, object, Mapping[str, str], int, str]] = [
        ("POST", "/v1/emails", MAIL, {"authorization": ""}, 401, "missing_api_key"),
        ("POST", "/v1/emails", MAIL, unknown, 403, "invalid_api_key"),
        ("POST", "/v1/emails", {**MAIL, "from": "a@evil.example"}, {}, 403, "validation_error"),
        ("POST", "/v1/emails", {"to": "a@b.test"}, {}, 422, "missing_required_field"),
        ("POST", "/v1/emails", {**MAIL, "subject": None}, {}, 422, "missing_required_field"),
        ("POST", "/v1/emails", {**MAIL, "typo": 1}, {}, 422, "validation_error"),
        ("POST", "/v1/emails", MAIL, {"idempotency-key": "a b"}, 400, "invalid_idempotency_key"),
        ("POST", "/v1/emails", MAIL, {"content-type": "text/plain"}, 415, "validation_error"),
        ("GET", "/v1/emails/x", None, {}, 404, "not_found"),
        ("PUT", "/v1/emails", MAIL, {}, 405, "method_not_allowed"),
    ]
    for method, path, body, headers, status, name in expected:
        answer = await api.call(method, path, body, headers=headers)
        assert (answer.status, answer.json()["name"], answer.json()["statusCode"]) == (status, name, status)


async def test_the_request_id_and_the_trace_come_back_with_every_answer(api: ApiHouse) -> None:
    sent = {"X-Request-Id": "abc-1.2_3", "traceparent": f"00-{TRACE}-{SPAN}-01"}
    for method, path in (
        ("GET", "/healthz"),
        ("HEAD", "/healthz"),
        ("GET", "/v1/emails/x"),
        ("GET", "/v1/nothing"),
        ("PUT", "/v1/emails"),
        ("HEAD", "/v1/emails"),
        ("POST", "/v1/emails"),
    ):
        answer = await api.call(method, path, headers=sent)
        assert answer.headers["X-Request-Id"] == "abc-1.2_3"
        version, trace, span, flags = answer.headers["traceparent"].split("-")
        assert (version, trace, flags) == ("00", TRACE, "01")
        assert span != SPAN


async def test_a_trace_that_is_none_is_replaced(api: ApiHouse) -> None:
    for malformed in ("", "00-x", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01"):
        answer = await api.call("GET", "/healthz", headers={"traceparent": malformed})
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", answer.headers["traceparent"])
        assert TRACE not in answer.headers["traceparent"]


async def test_what_is_not_allowed_says_what_is(api: ApiHouse) -> None:
    answer = await api.call("PUT", "/v1/emails", MAIL)
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert "POST" in answer.headers["Allow"]
    head = await api.call("HEAD", "/v1/emails/x")
    assert (head.status, head.body) == (405, b"")


async def test_lines_of_the_log_have_the_request_and_the_trace(api: ApiHouse) -> None:
    for address in ("a@inbox.test", "b@inbox.test"):
        assert (await api.call("POST", "/v1/suppressions", {"address": address})).status == 201
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        sent = {"X-Request-Id": "of-the-log", "traceparent": f"00-{TRACE}-{SPAN}-00"}
        await api.call("DELETE", "/v1/suppressions/a@inbox.test", headers=sent)
        await api.call("DELETE", "/v1/suppressions/b@inbox.test")
    first, second = (line for line in lines if line["event"] == "suppression_removed")
    assert (first["request_id"], first["trace_id"]) == ("of-the-log", TRACE)
    assert second["request_id"] != "of-the-log"
    assert re.fullmatch("[0-9a-f]{32}", second["trace_id"])


async def test_requests_at_once_keep_their_own_ids(api: ApiHouse) -> None:
    """Also on the server that the API role runs on: ids are kept by context, which servers may share."""
    port, stop = free_port(), asyncio.Event()
    server = asyncio.create_task(serve_on_granian(build_api(api.deps), "127.0.0.1", port, stop))
    await until_listening(port)
    granian = dataclasses.replace(api, base=f"http://127.0.0.1:{port}")
    for house in (api, granian):
        ids = [f"request-{n}" for n in range(100)]
        calls = [house.call("POST", "/v1/emails", {}, headers={"X-Request-Id": each}) for each in ids]
        assert [answer.json()["instance"] for answer in await asyncio.gather(*calls)] == ids
    stop.set()
    await server

"""POST /v1/emails/batch over real HTTP: whole or not at all, each mail once, and said which is wrong."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio
from api_house import ApiHouse, looking, mail, running_api

from posthouse.storage.db import Database, Wire
from posthouse.web.api.batch import MAX_EMAILS, BatchReceipt

_QUERIES = """\
-- name: jobs
SELECT count(*) FROM email_job;
-- name: keys
SELECT count(*) FROM idempotency_key;
-- name: hold_key
INSERT INTO idempotency_key (api_key_id, key, body_hash, response) VALUES ($1, $2, 'other', '{}');
"""

PERMISSIVE = {"x-batch-validation": "permissive"}


@pytest_asyncio.fixture
async def api(database: Database) -> AsyncIterator[ApiHouse]:
    async with running_api(database) as house:
        yield house


@pytest_asyncio.fixture
async def wire(pg_dsn: str) -> AsyncIterator[Wire]:
    async with looking(pg_dsn, _QUERIES) as opened:
        yield opened


async def sent(api: ApiHouse, mails: object, headers: Mapping[str, str] | None = None) -> BatchReceipt:
    answer = await api.call("POST", "/v1/emails/batch", mails, headers=headers)
    assert answer.status == 202, answer.body
    return msgspec.json.decode(answer.body, type=BatchReceipt)


async def test_a_bare_array_and_a_wrapped_one_are_accepted_in_order(api: ApiHouse, wire: Wire) -> None:
    for body in ([mail(1), mail(2)], {"emails": [mail(1), mail(2)]}):
        receipt = await sent(api, body)
        assert receipt.errors == []
        for number, item in enumerate(receipt.data, start=1):
            shown = (await api.call("GET", f"/v1/emails/{item.id}")).json()
            assert shown["to"] == [f"p{number}@inbox.test"]
    assert await wire.value(int, "jobs") == 4


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ([mail(), mail(to="nobody")], "/1/to", "invalid_address"),
        ({"emails": [mail(), mail(to="nobody")]}, "/emails/1/to", "invalid_address"),
        ([mail(), mail(colour="red")], "/1/colour", "unknown_field"),
        ([mail(), "mail"], "/1", "validation_error"),
    ],
)
async def test_strict_is_all_or_nothing(
    api: ApiHouse, wire: Wire, body: object, pointer: str, code: str
) -> None:
    answer = await api.call("POST", "/v1/emails/batch", body)
    assert answer.status == 422
    assert (answer.pointer, answer.code) == (pointer, code)
    assert await wire.value(int, "jobs") == 0


async def test_permissive_takes_the_good_ones_and_names_the_others(api: ApiHouse, wire: Wire) -> None:
    mails = [mail(0), mail(1, to="nobody"), mail(2), mail(3, **{"from": "a@elsewhere.example"}), 5]
    receipt = await sent(api, mails, PERMISSIVE)
    assert len(receipt.data) == 2
    assert [(e.index, e.code) for e in receipt.errors] == [
        (1, "invalid_address"),
        (3, "from_domain_not_allowed"),
        (4, "validation_error"),
    ]
    assert all(error.message for error in receipt.errors)
    assert await wire.value(int, "jobs") == 2


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ([], 422, "empty_batch"),
        ([mail(n) for n in range(MAX_EMAILS + 1)], 422, "too_many_emails"),
        ("mails", 422, "validation_error"),
        ({"mails": []}, 422, "unknown_field"),
    ],
)
async def test_what_is_no_batch_is_refused(api: ApiHouse, body: object, status: int, code: str) -> None:
    answer = await api.call("POST", "/v1/emails/batch", body)
    assert (answer.status, answer.code) == (status, code)


async def test_an_unknown_mode_is_refused(api: ApiHouse) -> None:
    answer = await api.call("POST", "/v1/emails/batch", [mail()], headers={"x-batch-validation": "lenient"})
    assert (answer.status, answer.code) == (400, "invalid_batch_validation")


async def test_five_hundred_mails_are_one_request(api: ApiHouse, wire: Wire) -> None:
    receipt = await sent(api, [mail(n) for n in range(MAX_EMAILS)])
    assert len({item.id for item in receipt.data}) == MAX_EMAILS
    assert await wire.value(int, "jobs") == MAX_EMAILS


async def test_a_batch_that_is_repeated_is_answered_again(api: ApiHouse, wire: Wire) -> None:
    headers = {"idempotency-key": "batch-1"}
    answers = await asyncio.gather(
        *(api.call("POST", "/v1/emails/batch", [mail(1), mail(2)], headers=headers) for _ in range(5))
    )
    assert {answer.status for answer in answers} == {202}
    assert len({answer.body for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    written_otherwise = json.dumps([dict(reversed(mail(n).items())) for n in (1, 2)], indent=2).encode()
    again = await api.call("POST", "/v1/emails/batch", raw=written_otherwise, headers=headers)
    assert (again.status, again.body) == (202, answers[0].body)
    other = await api.call("POST", "/v1/emails/batch", [mail(3)], headers=headers)
    assert (other.status, other.code) == (422, "invalid_idempotent_request")
    assert await wire.value(int, "jobs") == 2


async def test_mails_of_a_batch_have_keys_of_their_own(api: ApiHouse, wire: Wire) -> None:
    first = await sent(api, [mail(1, idempotency_key="a"), mail(2, idempotency_key="b")])
    again = await sent(api, [mail(2, idempotency_key="b"), mail(3, idempotency_key="c")])
    assert again.data[0] == first.data[1]
    alone = await api.call("POST", "/v1/emails", mail(3), headers={"idempotency-key": "c"})
    assert alone.headers["idempotent-replayed"] == "true"
    assert UUID(str(alone.json()["id"])) == again.data[1].id
    assert await wire.value(int, "jobs") == 3


async def test_a_key_with_another_body_spoils_a_strict_batch_and_one_mail_of_a_permissive_one(
    api: ApiHouse, wire: Wire
) -> None:
    await sent(api, [mail(1, idempotency_key="a")])
    mails = [mail(5, idempotency_key="z"), mail(2, idempotency_key="a")]
    strict = await api.call("POST", "/v1/emails/batch", mails)
    assert (strict.status, strict.code, strict.pointer) == (422, "invalid_idempotent_request", "/1")
    receipt = await sent(api, mails, PERMISSIVE)
    assert [(error.index, error.code) for error in receipt.errors] == [(1, "invalid_idempotent_request")]
    assert await wire.value(int, "jobs") == 2


async def test_one_key_twice_in_a_batch_is_one_mail_or_one_error(api: ApiHouse, wire: Wire) -> None:
    mails = [mail(1, idempotency_key="a"), mail(1, idempotency_key="a"), mail(2, idempotency_key="a")]
    strict = await api.call("POST", "/v1/emails/batch", mails)
    assert (strict.status, strict.code, strict.pointer) == (422, "invalid_idempotent_request", "/2")
    assert await wire.value(int, "jobs") == 0
    receipt = await sent(api, mails, PERMISSIVE)
    assert receipt.data[0] == receipt.data[1]
    assert [error.index for error in receipt.errors] == [2]
    assert await wire.value(int, "jobs") == 1


async def test_a_batch_and_its_mails_may_all_have_keys_and_the_answer_that_is_kept_is_true(
    api: ApiHouse, wire: Wire
) -> None:
    await wire.execute("hold_key", api.key.api_key_id, "taken")
    headers = {"idempotency-key": "whole", **PERMISSIVE}
    mails = [mail(1, idempotency_key="free"), mail(2, idempotency_key="taken")]
    receipt = await sent(api, mails, headers)
    assert (len(receipt.data), [error.index for error in receipt.errors]) == (1, [1])
    assert await sent(api, mails, headers) == receipt
    assert await wire.value(int, "jobs") == 1
    assert await wire.value(int, "keys") == 3


async def test_batches_that_share_keys_do_not_wait_for_each_other_for_ever(api: ApiHouse, wire: Wire) -> None:
    keys = [f"k{n}" for n in range(40)]
    forward = [mail(n, idempotency_key=key) for n, key in enumerate(keys)]
    receipts = await asyncio.gather(*(sent(api, mails) for mails in [forward, forward[::-1]] * 5))
    assert len({item.id for receipt in receipts for item in receipt.data}) == len(keys)
    assert await wire.value(int, "jobs") == len(keys)


@pytest.mark.parametrize("wrapped", [False, True])
async def test_half_a_character_in_one_mail_costs_the_others_nothing(api: ApiHouse, wrapped: bool) -> None:
    mails = [
        mail(1),
        mail(2, text="half \ud800"),
        mail(3, text="whole \U0001f600 \\ud800"),
        mail(4, text="\udc00"),
    ]
    body = json.dumps({"emails": mails} if wrapped else mails).encode()
    answer = await api.call("POST", "/v1/emails/batch", raw=body, headers=PERMISSIVE)
    receipt = msgspec.json.decode(answer.body, type=BatchReceipt)
    assert [(problem.index, problem.code) for problem in receipt.errors] == [
        (1, "invalid_text"),
        (3, "invalid_text"),
    ]
    shown = [(await api.call("GET", f"/v1/emails/{item.id}?include=content")).json() for item in receipt.data]
    assert [view["to"] for view in shown] == [["p1@inbox.test"], ["p3@inbox.test"]]
    assert msgspec.convert(shown[1]["content"], dict[str, object])["text"] == "whole \U0001f600 \\ud800"
    strict = await api.call("POST", "/v1/emails/batch", raw=body)
    assert (strict.status, strict.code, strict.pointer) == (
        422,
        "invalid_text",
        "/emails/1" if wrapped else "/1",
    )


#: What SDKs write for what their user left out.
NULLS = dict.fromkeys(
    (
        *("cc", "bcc", "reply_to", "html", "template", "stream", "scheduled_at", "expires_at", "tags"),
        *("metadata", "headers", "tracking", "attachments", "idempotency_key"),
    )
)


async def test_null_is_the_same_as_left_out(api: ApiHouse) -> None:
    key = {"idempotency-key": "order-4711"}
    with_nulls = await api.call("POST", "/v1/emails", mail(1, **NULLS), headers=key)
    assert with_nulls.status == 202, with_nulls.body
    assert (await api.call("POST", "/v1/emails", mail(1), headers=key)).body == with_nulls.body
    receipt = await sent(api, [mail(2, **NULLS), mail(3, idempotency_key="once"), mail(3, **NULLS)])
    assert len(receipt.data) == 3
    shown = (await api.call("GET", f"/v1/emails/{receipt.data[0].id}?include=content")).json()
    plain = (await api.call("GET", f"/v1/emails/{receipt.data[1].id}?include=content")).json()
    for field in ("cc", "reply_to", "tags", "metadata", "stream", "scheduled_at"):
        assert shown[field] == plain[field]
    required = await api.call("POST", "/v1/emails", mail(1, to=None))
    assert (required.status, required.pointer) == (422, "/to")


async def test_null_is_left_out_in_a_template_and_an_attachment_too(api: ApiHouse) -> None:
    template = {"key": "welcome", "subject": "Hi", "html": "<p>Hi</p>", "publish": True}
    assert (await api.call("POST", "/v1/templates", template)).status == 201
    nothing = dict.fromkeys(("path", "url", "content_type", "content_id", "inline_content_id", "disposition"))
    posted = mail(
        1,
        template={"key": "welcome", "id": None, "version": None, "variables": None},
        attachments=[{"filename": "a.txt", "content": "eA==", **nothing}],
        text=None,
        subject=None,
    )
    assert (await api.call("POST", "/v1/emails", posted)).status == 202

"""The simulated Postmark, spoken to by the real adapter, asked by the real inquirer, read by the real reader;
and with plain requests, for what the adapter never does."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from postmark_house import TOKEN, mail, simulated

from posthouse.domain.event import BounceClass
from posthouse.domain.message import Addressing, Attachment, Mailbox
from posthouse.domain.stream import Stream
from posthouse.domain.suppression import SuppressionReason
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    Inquiry,
    NotTried,
    OutcomeUnknown,
    RejectedMessage,
    RejectedRecipient,
    TryLater,
    WasTaken,
)
from posthouse.simulator.settings import FaultKind


@pytest.mark.parametrize(
    ("prefix", "kinds"),
    [
        ("ok", [("delivered", None)]),
        ("hard", [("bounced", "hard"), ("unknown", None)]),
        ("softalways", [("bounced", "soft")]),
        ("block", [("bounced", "block")]),
        ("defer", [("deferred", None), ("deferred", None), ("delivered", None)]),
        ("drop", [("rejected", None)]),
        ("async", [("bounced", "hard"), ("delivered", None), ("unknown", None)]),
        ("complain", [("complained", None), ("delivered", None), ("unknown", None)]),
    ],
)
async def test_what_becomes_of_a_mail_comes_back_with_our_ids(
    tmp_path: Path, prefix: str, kinds: list[tuple[str, str | None]]
) -> None:
    async with simulated(tmp_path) as postmark:
        one = mail(f"{prefix}-ann@gmail.sim.test")
        [outcome] = await postmark.send([one])
        assert isinstance(outcome, Accepted), outcome
        await postmark.idle()
        assert postmark.hook.kinds() == kinds
        for event in postmark.hook.events():
            assert (event.job_id, event.attempt) == (one.job_id, 2)
            assert event.provider_message_id == outcome.provider_message_id
            assert event.recipient == one.recipient
        [entry] = postmark.ledger()
        assert (entry.job_id, entry.attempt, entry.subject) == (str(one.job_id), 2, "Ваш чек ✓")
        assert entry.message_id == outcome.provider_message_id


async def test_a_batch_is_judged_mail_by_mail(tmp_path: Path) -> None:
    async with simulated(tmp_path) as postmark:
        many = [mail(f"ok-{n}@gmail.sim.test", n, Stream.MARKETING) for n in range(40)]
        many[7] = msgspec.structs.replace(
            many[7], attachments=(Attachment("virus.exe", "application/x", b"MZ"),)
        )
        many[9] = msgspec.structs.replace(many[9], recipient="ok-9@localhost", addressing=Addressing())
        outcomes = await postmark.send(many)
        assert isinstance(outcomes[7], RejectedMessage)
        assert isinstance(outcomes[9], RejectedRecipient)
        assert outcomes[9].bounce is BounceClass.HARD
        assert sum(isinstance(outcome, Accepted) for outcome in outcomes) == 38
        assert {entry.to for entry in postmark.ledger()} == {
            one.recipient for n, one in enumerate(many) if n not in (7, 9)
        }


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (FaultKind.THROTTLE, TryLater),
        (FaultKind.SERVER_ERROR, TryLater),
        (FaultKind.UNAUTHORIZED, AccountTrouble),
        (FaultKind.CUT_MID_BODY, OutcomeUnknown),
    ],
)
@pytest.mark.parametrize("stream", list(Stream))
async def test_faults_on_the_way_in(tmp_path: Path, kind: FaultKind, outcome: type, stream: Stream) -> None:
    async with simulated(tmp_path) as postmark:
        await postmark.fault(kind)
        outcomes = await postmark.send([mail(f"ok-{n}@gmail.sim.test", n, stream) for n in range(1, 3)])
        assert outcome in {type(one) for one in outcomes}
        assert len(postmark.ledger()) == sum(isinstance(one, Accepted) for one in outcomes)


async def test_the_same_attempt_twice_is_two_mails_whose_events_are_told_apart(tmp_path: Path) -> None:
    """Postmark has no idempotency key: a repeat is a second mail, and each tells of itself."""
    async with simulated(tmp_path) as postmark:
        one = mail("ok-ann@gmail.sim.test")
        outcomes = [(await postmark.send([one]))[0] for _ in range(2)]
        await postmark.idle()
        ids = [outcome.provider_message_id for outcome in outcomes if isinstance(outcome, Accepted)]
        events = postmark.hook.events()
        assert sorted(event.provider_message_id or "" for event in events) == sorted(ids)
        assert len({event.event_id for event in events}) == 2
        assert {(event.job_id, event.attempt) for event in events} == {(one.job_id, 2)}


async def test_long_headers_and_files_arrive_as_they_were(tmp_path: Path) -> None:
    async with simulated(tmp_path) as postmark:
        long = " ".join(f"word{n}" for n in range(150))
        one = msgspec.structs.replace(
            mail("ok-ann@gmail.sim.test"), subject=long, headers=(("X-Long", long),)
        )
        [outcome] = await postmark.send([one])
        assert isinstance(outcome, Accepted)
        async with postmark.client.get(f"{postmark.endpoints.control_url}/sim/messages/1") as answer:
            shown = msgspec.json.decode(await answer.read())
        headers = dict(shown["headers"])
        assert (headers["Subject"], headers["X-Long"]) == (long, long)
        assert (headers["Message-ID"], headers["X-PM-KeepID"]) == (one.message_id, "true")
        assert headers["From"] == '"Žofie, 山田" <hello@shop.example>'
        assert (shown["text"], shown["html"]) == (one.text, one.html)
        request = msgspec.json.decode(shown["raw"])
        assert [file.get("ContentID") for file in request["Attachments"]] == [None, "cid:l"]


async def test_a_server_that_hangs_or_is_away(tmp_path: Path) -> None:
    async with simulated(tmp_path) as postmark:
        await postmark.fault(FaultKind.HANG)
        [hung] = await postmark.send([mail("ok-ann@gmail.sim.test")])
        assert isinstance(hung, OutcomeUnknown)
        assert postmark.ledger() == []
        await postmark.fault(FaultKind.REFUSE, times=None)
        [away] = await postmark.send([mail("ok-ann@gmail.sim.test")])
        assert isinstance(away, TryLater)
        assert away.slow_relay


async def test_doubt_is_settled_by_asking(tmp_path: Path) -> None:
    async with simulated(tmp_path) as postmark:
        await postmark.fault(FaultKind.CUT_AFTER_BODY)
        one = mail("ok-ann@gmail.sim.test")
        [outcome] = await postmark.send([one])
        assert isinstance(outcome, OutcomeUnknown)
        [entry] = postmark.ledger()
        await postmark.idle()
        inquirer = postmark.inquirer()
        inquiry = Inquiry(one.job_id, 2, one.recipient, one.message_id, datetime.now(UTC))
        other = replace(inquiry, attempt=1)
        first, second = await inquirer.ask([inquiry, other])
        await inquirer.close()
        assert first == WasTaken(entry.message_id)
        assert not isinstance(second, WasTaken)


async def test_an_address_that_bounced_is_refused_from_then_on(tmp_path: Path) -> None:
    async with simulated(tmp_path) as postmark:
        address = "hard-ann@gmail.sim.test"
        await postmark.send([mail(address)])
        await postmark.idle()
        [again] = await postmark.send([mail(address, 2)])
        assert isinstance(again, NotTried)
        assert again.listed_for is SuppressionReason.BOUNCE
        assert "ErrorCode 406" in again.reply
        status, dump = await postmark.ask("GET", "/message-streams/outbound/suppressions/dump")
        assert status == 200
        assert isinstance(dump, dict)
        assert [entry["SuppressionReason"] for entry in dump["Suppressions"]] == ["HardBounce"]
        order = {"Suppressions": [{"EmailAddress": address}]}
        status, said = await postmark.ask("POST", "/message-streams/outbound/suppressions/delete", json=order)
        assert (status, said) == (
            200,
            {"Suppressions": [{"EmailAddress": address, "Status": "Deleted", "Message": None}]},
        )
        [third] = await postmark.send([mail(address, 3)])
        assert isinstance(third, Accepted)


async def test_the_suppressions_api_refuses_as_postmark_does(tmp_path: Path) -> None:
    async with simulated(tmp_path) as postmark:
        lists = "/message-streams/outbound/suppressions"
        many = {"Suppressions": [{"EmailAddress": f"a{n}@gmail.sim.test"} for n in range(51)]}
        assert (await postmark.ask("POST", lists, json=many))[0] == 422
        assert (await postmark.ask("POST", lists, data=b"x"))[0] == 422
        assert (await postmark.ask("GET", "/message-streams/nowhere/suppressions/dump"))[0] == 422
        one = {"Suppressions": [{"EmailAddress": "Ann@gmail.sim.test"}, {"EmailAddress": "nobody"}]}
        _, said = await postmark.ask("POST", lists, json=one)
        assert isinstance(said, dict)
        assert [entry["Status"] for entry in said["Suppressions"]] == ["Suppressed", "Failed"]
        [outcome] = await postmark.send([mail("ann@gmail.sim.test")])
        assert isinstance(outcome, NotTried)
        assert outcome.listed_for is None  # switched off by hand, there


async def test_credits_and_tokens(tmp_path: Path) -> None:
    async with simulated(tmp_path, mails_paid=1) as postmark:
        [wrong] = await postmark.send([mail("ok-a@gmail.sim.test")], token="another")
        assert isinstance(wrong, AccountTrouble)
        [test] = await postmark.send([mail("ok-a@gmail.sim.test")], token="POSTMARK_API_TEST")
        assert isinstance(test, AccountTrouble)  # it would be thrown away
        assert "Test job accepted" in test.reply
        [left] = await postmark.send([mail("ok-a@gmail.sim.test")])
        assert isinstance(left, AccountTrouble)
        assert postmark.ledger() == []


async def test_a_webhook_is_called_again_after_503_and_never_after_401(tmp_path: Path) -> None:
    async with simulated(tmp_path, hook_answers=[503, 429, 200]) as postmark:
        await postmark.send([mail("ok-ann@gmail.sim.test")])
        await postmark.idle()
        assert len(postmark.hook.calls) == 3
        assert len({headers["x-pm-webhook-trace-id"] for headers, _ in postmark.hook.calls}) == 1
    async with simulated(tmp_path / "again", hook_answers=[401]) as postmark:
        await postmark.send([mail("ok-ann@gmail.sim.test")])
        await postmark.idle()
        assert len(postmark.hook.calls) == 1


def mail_with(more: bytes) -> bytes:
    return b'{"From":"a@shop.example","To":"b@sim.test","TextBody":"x",%s}' % more


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/email", b"{", 422, 402),
        ("POST", "/email", b'{"From":7}', 422, 403),
        ("POST", "/email", b'{"From":"a@shop.example","TextBody":"x"}', 422, 300),
        ("POST", "/email", b'{"From":"a@shop.example","To":"b@sim.test"}', 422, 300),
        ("POST", "/email", mail_with(b'"MessageStream":"?"'), 422, 1235),
        ("POST", "/email", mail_with(b'"Tag":"%s"' % (b"x" * 1001)), 422, 300),
        ("POST", "/email", mail_with(b'"Metadata":{"%s":"x"}' % (b"k" * 21)), 422, 300),
        ("POST", "/email", mail_with(b'"Cc":"%s"' % b",".join([b"c@sim.test"] * 50)), 422, 300),
        ("POST", "/email/batch", b"{}", 422, 402),
        ("POST", "/email/batch", b"[" + b",".join([b"{}"] * 501) + b"]", 422, 410),
        ("GET", "/messages/outbound", b"", 422, 700),
        ("GET", "/messages/outbound?count=501&offset=0", b"", 422, 700),
        ("GET", "/nowhere", b"", 404, 0),
        ("GET", "/email", b"", 405, 0),
    ],
)  # fmt: skip
async def test_bad_requests_are_told_in_postmarks_shape(
    tmp_path: Path, method: str, path: str, body: bytes, status: int, code: int
) -> None:
    async with simulated(tmp_path) as postmark:
        headers = {"X-Postmark-Server-Token": TOKEN, "Content-Type": "application/json"}
        async with postmark.client.request(method, postmark.url + path, data=body, headers=headers) as answer:
            said = msgspec.json.decode(await answer.read())
            assert (answer.status, said["ErrorCode"]) == (status, code)
            assert said["Message"]
        assert postmark.ledger() == []


async def test_a_list_of_addresses_is_taken_apart_outside_of_quotes(tmp_path: Path) -> None:
    """A display name never becomes a recipient, whatever commas and addresses are in it."""
    async with simulated(tmp_path) as postmark:
        name = 'Roe, Ann" <eve@sim.test>, "'
        one = msgspec.structs.replace(
            mail("ok-ann@gmail.sim.test"), addressing=Addressing(to=(Mailbox("ok-ann@gmail.sim.test", name),))
        )
        [outcome] = await postmark.send([one])
        assert isinstance(outcome, Accepted)
        assert [entry.to for entry in postmark.ledger()] == ["ok-ann@gmail.sim.test"]

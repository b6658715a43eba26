"""The simulated Mailgun, spoken to by the real adapter, asked by the real inquirer, read by the real reader;
and with plain requests, for what the adapter never does."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from aiohttp import FormData
from mailgun_house import DOMAIN, mail, simulated
from simulator_house import PATIENCE

from posthouse.domain.suppression import SuppressionReason
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    Inquiry,
    OutcomeUnknown,
    RejectedRecipient,
    TryLater,
    WasTaken,
)
from posthouse.simulator.settings import MAILGUN_HABITS, FaultKind


@pytest.mark.parametrize(
    ("prefix", "kinds"),
    [
        ("ok", [("delivered", None), ("sent", None)]),
        ("hard", [("bounced", "hard"), ("sent", None)]),
        ("softalways", [("bounced", "soft"), ("sent", None)]),
        ("block", [("bounced", "block"), ("sent", None)]),
        ("defer", [("deferred", None), ("deferred", None), ("delivered", None), ("sent", None)]),
        ("drop", [("rejected", None)]),
        ("async", [("bounced", "hard"), ("delivered", None), ("sent", None)]),
        ("complain", [("complained", None), ("delivered", None), ("sent", None)]),
    ],
)
async def test_what_becomes_of_a_mail_comes_back_with_our_ids(
    tmp_path: Path, prefix: str, kinds: list[tuple[str, str | None]]
) -> None:
    async with simulated(tmp_path) as mailgun:
        one = mail(f"{prefix}-ann@gmail.sim.test")
        [outcome] = await mailgun.send([one])
        assert outcome == Accepted("1@shop.example", "200 Queued. Thank you.")
        await mailgun.idle()
        assert mailgun.hook.kinds() == kinds
        for event in mailgun.hook.events():
            assert (event.job_id, event.attempt) == (one.job_id, 2)
            assert event.provider_message_id == "1@shop.example"
            assert event.recipient == one.recipient
        [entry] = mailgun.ledger()
        assert (entry.job_id, entry.attempt, entry.subject) == (str(one.job_id), 2, "Ваш чек ✓")
        assert (entry.message_id, entry.via) == ("1@shop.example", "mailgun")


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (FaultKind.THROTTLE, TryLater),
        (FaultKind.SERVER_ERROR, TryLater),
        (FaultKind.UNAUTHORIZED, AccountTrouble),
        (FaultKind.CUT_MID_BODY, OutcomeUnknown),
        (FaultKind.CUT_AFTER_BODY, OutcomeUnknown),
    ],
)
async def test_faults_on_the_way_in(tmp_path: Path, kind: FaultKind, outcome: type) -> None:
    async with simulated(tmp_path) as mailgun:
        await mailgun.fault(kind)
        [first] = await mailgun.send([mail("ok-1@gmail.sim.test", 1)])
        [second] = await mailgun.send([mail("ok-2@gmail.sim.test", 2)])
        assert type(first) is outcome
        assert isinstance(second, Accepted)
        assert len(mailgun.ledger()) == (2 if kind is FaultKind.CUT_AFTER_BODY else 1)
        if isinstance(first, TryLater) and kind is FaultKind.THROTTLE:
            assert first.retry_after is not None


async def test_doubt_is_settled_by_asking(tmp_path: Path) -> None:
    async with simulated(tmp_path) as mailgun:
        await mailgun.fault(FaultKind.CUT_AFTER_BODY)
        one = mail("ok-ann@gmail.sim.test")
        [outcome] = await mailgun.send([one])
        assert isinstance(outcome, OutcomeUnknown)
        await mailgun.idle()
        inquirer = mailgun.inquirer()
        inquiry = Inquiry(one.job_id, 2, one.recipient, "<1@shop.example>", datetime.now(UTC))
        first, second = await inquirer.ask([inquiry, replace(inquiry, attempt=1)])
        await inquirer.close()
        assert first == WasTaken("1@shop.example")
        assert not isinstance(second, WasTaken)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bounces", SuppressionReason.BOUNCE),
        ("unsubscribes", SuppressionReason.UNSUBSCRIBE),
        ("complaints", SuppressionReason.SPAM),
    ],
)
async def test_an_address_on_a_list_is_taken_and_not_tried(
    tmp_path: Path, name: str, reason: SuppressionReason
) -> None:
    async with simulated(tmp_path) as mailgun:
        address = "ok-ann@gmail.sim.test"
        status, _ = await mailgun.ask("POST", f"{DOMAIN}/{name}", FormData({"address": address}))
        assert status == 200
        assert (await mailgun.ask("GET", f"{DOMAIN}/{name}/{address}"))[0] == 200
        [outcome] = await mailgun.send([mail(address)])
        assert isinstance(outcome, Accepted)
        await mailgun.idle()
        assert {event.mirrored for event in mailgun.hook.events()} == {None, reason}
        assert mailgun.hook.kinds() == [("rejected", None), ("sent", None)]
        assert (await mailgun.ask("DELETE", f"{DOMAIN}/{name}/{address}"))[0] == 200
        assert (await mailgun.ask("DELETE", f"{DOMAIN}/{name}/{address}"))[0] == 404
        assert (await mailgun.ask("GET", f"{DOMAIN}/{name}/{address}"))[0] == 404


async def test_a_hard_bounce_puts_its_address_on_the_list(tmp_path: Path) -> None:
    async with simulated(tmp_path) as mailgun:
        await mailgun.send([mail("hard-ann@gmail.sim.test")])
        await mailgun.idle()
        _, body = await mailgun.ask("GET", f"{DOMAIN}/bounces")
        [listed] = msgspec.json.decode(body)["items"]
        assert listed["address"] == "hard-ann@gmail.sim.test"
        await mailgun.send([mail("hard-ann@gmail.sim.test", 2)])
        await mailgun.idle()
        assert ("rejected", None) in mailgun.hook.kinds()


async def test_the_hours_limit_refuses_until_the_hour_is_over(tmp_path: Path) -> None:
    async with simulated(tmp_path, hourly_limit=1) as mailgun:
        assert isinstance((await mailgun.send([mail("ok-1@gmail.sim.test")]))[0], Accepted)
        [refused] = await mailgun.send([mail("ok-2@gmail.sim.test", 2)])
        assert isinstance(refused, TryLater)
        assert refused.slow_relay
        assert "420" in refused.reply
        async with asyncio.timeout(PATIENCE):  # the simulated hour is 1.8 s
            while isinstance(refused, TryLater):
                await asyncio.sleep(0.1)
                [refused] = await mailgun.send([mail("ok-2@gmail.sim.test", 2)])
        assert len(mailgun.ledger()) == 2


async def test_keys_domains_and_paths(tmp_path: Path) -> None:
    async with simulated(tmp_path) as mailgun:
        one = mail("ok-a@gmail.sim.test")
        [wrong_key] = await mailgun.send([one], key="another")
        assert wrong_key == AccountTrouble("401 Forbidden")
        [wrong_domain] = await mailgun.send([one], domain="mail.other.example")
        assert wrong_domain == AccountTrouble("404 Domain not found: mail.other.example")
        assert await mailgun.ask("POST", f"{DOMAIN}/messages.mme") == (200, b"Mailgun Magnificent API")
        assert (await mailgun.ask("GET", f"{DOMAIN}/events?begin=soon"))[0] == 400
        assert mailgun.ledger() == []


async def test_forms_that_are_refused(tmp_path: Path) -> None:
    async with simulated(tmp_path) as mailgun:
        path = f"{DOMAIN}/messages.mime"
        assert (await mailgun.ask("POST", path, FormData({"to": "ann@example.org"})))[0] == 400
        for to in ("nobody", "a@b", "a@example.org,,b"):
            form = FormData({"to": to})
            form.add_field("message", b"Subject: x\r\n\r\n", filename="m.eml")
            assert (await mailgun.ask("POST", path, form))[0] == 400
        form = FormData()
        form.add_field("message", b"Subject: x\r\n\r\n", filename="m.eml")
        assert (await mailgun.ask("POST", path, form))[0] == 400
        form = FormData({"to": "ok-a@gmail.sim.test"})
        form.add_field("message", bytes(300_000), filename="m.eml")
        assert (await mailgun.ask("POST", path, form))[0] == 413
        form = FormData({"to": "ok-a@gmail.sim.test", "o:testmode": "yes"})
        form.add_field("message", b"Subject: x\r\n\r\n", filename="m.eml")
        assert (await mailgun.ask("POST", path, form))[0] == 200
        [invalid] = await mailgun.send([mail("ann@localhost")])
        assert isinstance(invalid, RejectedRecipient)
        assert mailgun.ledger() == []


async def test_a_webhook_is_called_again_after_503_and_never_after_406(tmp_path: Path) -> None:
    async with simulated(tmp_path, hook_answers=[503, 401, 200]) as mailgun:
        await mailgun.send([mail("drop-ann@gmail.sim.test")])
        await mailgun.idle()
        assert len(mailgun.hook.calls) == 3
    async with simulated(tmp_path / "again", hook_answers=[406]) as mailgun:
        await mailgun.send([mail("drop-ann@gmail.sim.test")])
        await mailgun.idle()
        assert len(mailgun.hook.calls) == 1


async def test_mailgun_gives_up_after_its_six_waits(tmp_path: Path) -> None:
    """10, 15, 30 minutes, 1, 2 and 4 hours, of a world that goes faster."""
    assert list(MAILGUN_HABITS.retry_waits) == [600, 900, 1800, 3600, 7200, 14_400]
    async with simulated(tmp_path, hook_answers=[503] * 20, time_scale=0.00002) as mailgun:
        await mailgun.send([mail("drop-ann@gmail.sim.test")])
        await mailgun.idle()
        assert len(mailgun.hook.calls) == 7

"""The simulated SendGrid: the send API, and the signed Event Webhook behind it."""

import asyncio
from io import BytesIO
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout, ServerDisconnectedError
from simulator_house import KEY, QUIET, House, SentEvent, Simulation, house, is_signed, order, simulating

from posthouse.simulator.settings import FaultKind, WebhookHabits

JOB = "0198c0de-0000-7000-8000-000000000001"


class Errors(msgspec.Struct):
    class One(msgspec.Struct):
        message: str
        field: str | None
        help: str | None

    errors: list[One]


class Account(msgspec.Struct):
    name: str
    public_key: str | None = None


async def told(tmp_path: Path, *addresses: str, habits: WebhookHabits = QUIET) -> list[SentEvent]:
    """All events about mails to these addresses, in the order of their time."""
    async with (
        house() as there,
        simulating(tmp_path, webhook_url=f"{there.base}/hooks", habits=habits) as simulation,
    ):
        for address in addresses:
            status, _, _ = await simulation.send(order(address))
            assert status == 202
        await simulation.idle()
        assert (await simulation.summary()).undelivered == 0
        return there.events()


async def test_a_mail_is_taken_written_down_and_reported(tmp_path: Path) -> None:
    async with house() as there, simulating(tmp_path, webhook_url=f"{there.base}/hooks") as simulation:
        status, message_id, body = await simulation.send(order("ok-ann@gmail.sim.test"))
        assert (status, body) == (202, b"")
        (entry,) = simulation.ledger()
        assert (entry.via, entry.to, entry.sender) == (
            "sendgrid",
            "ok-ann@gmail.sim.test",
            "news@shop.example",
        )
        assert (entry.job_id, entry.attempt, entry.message_id) == (JOB, 3, message_id)
        await simulation.idle()
        events = there.events()
        assert {event.event for event in events} == {"processed", "delivered"}
        for event in events:
            assert event.sg_message_id is not None
            assert event.sg_message_id.partition(".")[0] == message_id
            assert (event.posthouse_job, event.posthouse_attempt) == (JOB, "3")
            assert event.email == "ok-ann@gmail.sim.test"
        summary = await simulation.summary()
        assert summary.decided == summary.done == {"processed": 1, "delivered": 1}


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("ok", ["delivered", "processed"]),
        ("hard", ["bounce", "processed"]),
        ("softalways", ["bounce", "processed"]),
        ("block", ["bounce", "processed"]),
        ("defer", ["deferred", "deferred", "delivered", "processed"]),
        ("grey", ["deferred", "delivered", "processed"]),
        ("drop", ["dropped"]),
        ("async", ["bounce", "delivered", "processed"]),
        ("complain", ["delivered", "processed", "spamreport"]),
    ],
)
async def test_each_fate_has_its_events(tmp_path: Path, prefix: str, expected: list[str]) -> None:
    events = await told(tmp_path, f"{prefix}-ann@gmail.sim.test")
    assert sorted(event.event for event in events) == expected


async def test_bounces_say_which_kind_they_are(tmp_path: Path) -> None:
    addresses = ["hard-a@gmail.sim.test", "softalways-a@gmail.sim.test", "block-a@gmail.sim.test"]
    events = [event for event in await told(tmp_path, *addresses) if event.event == "bounce"]
    told_of = {event.email: (event.type, event.status) for event in events}
    assert told_of == {
        "hard-a@gmail.sim.test": ("bounce", "5.1.1"),
        "softalways-a@gmail.sim.test": ("blocked", "4.2.2"),
        "block-a@gmail.sim.test": ("blocked", "5.7.1"),
    }
    assert all(event.reason and event.reason[:3].isdigit() for event in events)


async def test_an_asynchronous_bounce_has_our_ids_but_not_its_own(tmp_path: Path) -> None:
    events = await told(tmp_path, "async-ann@gmail.sim.test")
    (bounce,) = [event for event in events if event.event == "bounce"]
    assert bounce.sg_message_id is None
    assert (bounce.posthouse_job, bounce.type) == (JOB, "bounce")


async def test_a_full_mailbox_is_soft_twice_and_then_empty(tmp_path: Path) -> None:
    address = "soft-ann@gmail.sim.test"
    events = await told(tmp_path, address, address, address)
    assert sorted(event.event for event in events) == ["bounce"] * 2 + ["delivered"] + ["processed"] * 3


async def test_batches_are_signed_over_the_bytes_that_come(tmp_path: Path) -> None:
    async with house() as there, simulating(tmp_path, webhook_url=f"{there.base}/hooks") as simulation:
        for n in range(20):
            await simulation.send(order(f"ok-{n}@gmail.sim.test"))
        await simulation.idle()
        accounts = msgspec.json.decode(await simulation.get("/sim/accounts"), type=list[Account])
        public_key = next(a.public_key for a in accounts if a.public_key is not None)
        assert there.batches
        for headers, body in there.batches:
            assert body.endswith(b"]\r\n")
            assert is_signed(public_key, headers, body)
            assert not is_signed(public_key, headers, body + b" ")
            assert headers["Content-Type"] == "application/json"
        assert len(there.batches) < 40


async def test_the_key_is_kept(tmp_path: Path) -> None:
    async with simulating(tmp_path) as simulation:
        first = simulation.endpoints.accounts[0].public_key
    async with simulating(tmp_path) as simulation:
        assert simulation.endpoints.accounts[0].public_key == first


async def test_a_webhook_that_fails_is_called_again_until_it_does_not(tmp_path: Path) -> None:
    async with house() as there, simulating(tmp_path, webhook_url=f"{there.base}/hooks") as simulation:
        there.fail_webhooks = 3
        await simulation.send(order("ok-ann@gmail.sim.test"))
        await simulation.idle()
        assert len(there.batches) > 3
        assert sorted(event.event for event in there.events()) == ["delivered", "processed"]


async def test_events_are_given_up_after_their_day(tmp_path: Path) -> None:
    habits = msgspec.structs.replace(QUIET, retry_until=20.0)
    async with house() as there:
        hooks = f"{there.base}/hooks"
        async with simulating(tmp_path, webhook_url=hooks, habits=habits) as simulation:
            there.fail_webhooks = 1_000_000
            await simulation.send(order("ok-ann@gmail.sim.test"))
            await simulation.idle()
            summary = await simulation.summary()
            assert summary.failed == {"processed": 1, "delivered": 1}
            assert there.taken == []


async def test_duplicates_keep_their_event_id_and_count_once(tmp_path: Path) -> None:
    habits = msgspec.structs.replace(QUIET, duplicate_share=1.0)
    async with house() as there:
        hooks = f"{there.base}/hooks"
        async with simulating(tmp_path, webhook_url=hooks, habits=habits) as simulation:
            await simulation.send(order("ok-ann@gmail.sim.test"))
            await simulation.idle()
            events = there.events()
            assert len(events) == 4
            assert len({event.sg_event_id for event in events}) == 2
            assert (await simulation.summary()).done == {"processed": 1, "delivered": 1}


async def test_events_come_out_of_order(tmp_path: Path) -> None:
    addresses = [f"defer-{n}@gmail.sim.test" for n in range(30)]
    events = await told(tmp_path, *addresses, habits=msgspec.structs.replace(QUIET, disorder=400.0))
    arrival = [event.event for event in events if event.email == "defer-0@gmail.sim.test"]
    assert sorted(arrival) == ["deferred", "deferred", "delivered", "processed"]
    order_of = {address: [event.event for event in events if event.email == address] for address in addresses}
    assert any(names[0] != "processed" for names in order_of.values())


async def test_the_end_flushes_what_still_waits(tmp_path: Path) -> None:
    habits = msgspec.structs.replace(QUIET, disorder=1e9)
    async with house() as there:
        async with simulating(tmp_path, webhook_url=f"{there.base}/hooks", habits=habits) as simulation:
            await simulation.send(order("ok-ann@gmail.sim.test"))
            assert (await simulation.summary()).undelivered == 2
        assert sorted(event.event for event in there.events()) == ["delivered", "processed"]


async def test_tracking_events_come_only_when_asked_for(tmp_path: Path) -> None:
    async with house() as there, simulating(tmp_path, webhook_url=f"{there.base}/hooks") as simulation:
        html = f'<img src="{there.base}/o/1"><a href="{there.base}/c/1">x</a>'
        on: dict[str, object] = {"open_tracking": {"enable": True}, "click_tracking": {"enable": True}}
        await simulation.send(order("click-off@gmail.sim.test", html=html))
        await simulation.send(order("click-on@gmail.sim.test", html=html) | {"tracking_settings": on})
        await simulation.send(order("machine-on@gmail.sim.test", html=html) | {"tracking_settings": on})
        await simulation.idle()
        seen = {(e.email.partition("@")[0], e.event, e.sg_machine_open) for e in there.events()}
        assert seen >= {
            ("click-on", "open", False),
            ("click-on", "click", None),
            ("machine-on", "open", True),
        }
        assert {event for who, event, _ in seen if who == "click-off"} == {"processed", "delivered"}


async def test_sandbox_mode_takes_nothing(tmp_path: Path) -> None:
    async with simulating(tmp_path) as simulation:
        sandbox = {"mail_settings": {"sandbox_mode": {"enable": True}}}
        status, message_id, _ = await simulation.send(order("ok-ann@gmail.sim.test") | sandbox)
        assert (status, message_id) == (200, "")
        assert simulation.ledger() == []


async def test_a_wrong_key_is_refused(tmp_path: Path) -> None:
    async with simulating(tmp_path) as simulation:
        status, _, body = await simulation.send(order("ok-ann@gmail.sim.test"), key="SG.other")
        assert status == 401
        assert (
            msgspec.json.decode(body, type=Errors).errors[0].message.startswith("The provided authorization")
        )
        assert simulation.ledger() == []


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"content": []}, 400, "content"),
        ({"subject": ""}, 400, "subject"),
        ({"personalizations": []}, 400, "personalizations"),
        ({"personalizations": [{"to": [{"email": 7}]}]}, 400, "personalizations.0.to.0.email"),
        ({"content": [{"type": "text/plain", "value": "x" * 250_000}]}, 413, None),
    ],
)
async def test_bad_requests_are_told_in_sendgrids_shape(
    tmp_path: Path, change: dict[str, object], status: int, field: str | None
) -> None:
    async with simulating(tmp_path) as simulation:
        got, _, body = await simulation.send(order("ok-ann@gmail.sim.test") | change)
        assert got == status
        errors = msgspec.json.decode(body, type=Errors).errors
        if field is not None:
            assert field in [error.field for error in errors]
        assert simulation.ledger() == []


async def test_what_the_server_itself_refuses_has_the_same_shape(tmp_path: Path) -> None:
    async with simulating(tmp_path) as simulation:
        url = f"http://127.0.0.1:{simulation.port('transactional')}/v3/mail/send"
        headers = {"Authorization": f"Bearer {KEY}"}
        async with simulation.client.get(url, headers=headers) as answer:
            assert answer.status == 405
            assert msgspec.json.decode(await answer.read(), type=Errors).errors
        async with simulation.client.post(url, data=b"x", headers=headers) as answer:
            assert answer.status == 415
        async with simulation.client.post(url, data=b"[" * 50_000, headers=headers | _JSON) as answer:
            assert answer.status == 400
        async with simulation.client.post(
            url, data=BytesIO(b"x" * 1_500_000), headers=headers | _JSON
        ) as answer:
            assert answer.status == 413


_JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("kind", "status"),
    [(FaultKind.THROTTLE, 429), (FaultKind.SERVER_ERROR, 503), (FaultKind.UNAUTHORIZED, 401)],
)
async def test_faults_with_an_answer(tmp_path: Path, kind: FaultKind, status: int) -> None:
    async with simulating(tmp_path) as simulation:
        await simulation.fault(kind, "transactional", times=2)
        got = [(await simulation.send(order("ok-ann@gmail.sim.test")))[0] for _ in range(3)]
        assert got == [status, status, 202]
        assert len(simulation.ledger()) == 1


async def test_throttling_says_until_when(tmp_path: Path) -> None:
    async with simulating(tmp_path) as simulation:
        await simulation.fault(FaultKind.THROTTLE, "transactional")
        url = f"http://127.0.0.1:{simulation.port('transactional')}/v3/mail/send"
        async with simulation.client.post(url, json={}) as answer:
            assert answer.headers["X-RateLimit-Remaining"] == "0"
            assert int(answer.headers["X-RateLimit-Reset"]) > 1_700_000_000


async def test_the_ledger_has_the_mail_before_the_answer(tmp_path: Path) -> None:
    """The line is cut instead of answering, and yet the mail is written, and reported."""
    async with house() as there, simulating(tmp_path, webhook_url=f"{there.base}/hooks") as simulation:
        await simulation.fault(FaultKind.CUT_AFTER_BODY, "transactional", times=1)
        with pytest.raises(ServerDisconnectedError):
            await simulation.send(order("ok-ann@gmail.sim.test"))
        assert [entry.job_id for entry in simulation.ledger()] == [JOB]
        await simulation.idle()
        assert sorted(event.event for event in there.events()) == ["delivered", "processed"]


async def test_a_line_cut_in_the_body_takes_nothing(tmp_path: Path) -> None:
    async with simulating(tmp_path) as simulation:
        await simulation.fault(FaultKind.CUT_MID_BODY, "transactional", times=1)
        with pytest.raises(ClientError):
            await simulation.send(order("ok-ann@gmail.sim.test"))
        assert simulation.ledger() == []


async def test_refused_connections_come_back_on_the_same_port(tmp_path: Path) -> None:
    async with simulating(tmp_path) as simulation:
        assert (await simulation.send(order("ok-ann@gmail.sim.test")))[0] == 202
        await simulation.fault(FaultKind.REFUSE, "transactional")
        with pytest.raises(ClientError):
            await simulation.send(order("ok-ann@gmail.sim.test"))
        await simulation.clear()
        assert (await simulation.send(order("ok-ann@gmail.sim.test")))[0] == 202


async def test_a_slow_mail_is_taken_at_once_and_answered_late(tmp_path: Path) -> None:
    async with simulating(tmp_path) as simulation:
        await simulation.fault(FaultKind.SLOW, "transactional", times=1, delay_ms=100_000)
        url = f"http://127.0.0.1:{simulation.port('transactional')}/v3/mail/send"
        async with ClientSession(timeout=ClientTimeout(total=0.3)) as hasty:
            with pytest.raises(TimeoutError):
                await hasty.post(
                    url, json=order("ok-ann@gmail.sim.test"), headers={"Authorization": f"Bearer {KEY}"}
                )
        assert len(simulation.ledger()) == 1


async def test_a_hanging_mail_is_not_taken_and_does_not_delay_the_end(
    tmp_path: Path,
) -> None:
    async with simulating(tmp_path) as simulation:
        await simulation.fault(FaultKind.HANG, "transactional")
        hanging = asyncio.create_task(simulation.send(order("ok-ann@gmail.sim.test")))
        done, _ = await asyncio.wait((hanging,), timeout=0.2)
        assert not done
        await ends_in_time(simulation)
        with pytest.raises(ServerDisconnectedError):
            await hanging
        assert simulation.ledger() == []


async def test_a_webhook_that_never_answers_does_not_delay_the_end_much(tmp_path: Path) -> None:
    never = asyncio.Event()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, simulating(tmp_path, webhook_url=f"http://127.0.0.1:{port}/") as simulation:
        await simulation.send(order("ok-ann@gmail.sim.test"))
        await ends_in_time(simulation)
        never.set()


async def ends_in_time(simulation: Simulation) -> None:
    before = asyncio.get_running_loop().time()
    simulation.stop.set()
    await simulation.ended
    assert asyncio.get_running_loop().time() - before < 2.0


async def test_every_recipient_has_a_line_and_events_of_his_own(tmp_path: Path) -> None:
    async with house() as there, simulating(tmp_path, webhook_url=f"{there.base}/hooks") as simulation:
        many = order("ok-a@gmail.sim.test")
        many["personalizations"] = [
            {"to": [{"email": "ok-a@gmail.sim.test"}], "bcc": [{"email": "hard-b@gmail.sim.test"}]},
            {"to": [{"email": "ok-c@gmail.sim.test"}], "subject": "Own"},
        ]
        await simulation.send(many)
        assert [(entry.to, entry.subject) for entry in simulation.ledger()] == [
            ("ok-a@gmail.sim.test", "Hello"),
            ("hard-b@gmail.sim.test", "Hello"),
            ("ok-c@gmail.sim.test", "Own"),
        ]
        await simulation.idle()
        assert _by_address(there) == {
            "ok-a@gmail.sim.test": {"processed", "delivered"},
            "hard-b@gmail.sim.test": {"processed", "bounce"},
            "ok-c@gmail.sim.test": {"processed", "delivered"},
        }


def _by_address(there: House) -> dict[str, set[str]]:
    names: dict[str, set[str]] = {}
    for event in there.events():
        names.setdefault(event.email, set()).add(event.event)
    return names

"""The simulated SMTP relay, by an independent client and by hand."""

import asyncio
import ssl
from pathlib import Path

import aiosmtplib
import msgspec
import pytest
from simulator_house import Entry, Simulation, mail, simulating

from posthouse.simulator.settings import FaultKind, SmtpAccount, SmtpSecurity


class View(msgspec.Struct):
    entry: Entry
    headers: list[tuple[str, str]]
    text: str
    html: str
    raw: str


async def deliver(simulation: Simulation, to: str, subject: str = "Hello") -> str:
    _, reply = await aiosmtplib.send(
        mail(to, subject), hostname="127.0.0.1", port=simulation.port("marketing"), start_tls=False
    )
    return reply


async def refusal(simulation: Simulation, to: str) -> tuple[int, str]:
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as caught:
        await deliver(simulation, to)
    refused = caught.value.recipients[0]
    return refused.code, refused.message


async def converse(port: int, *writes: bytes) -> list[bytes]:
    """Says it all, and returns what was answered until the server closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for data in writes:
        writer.write(data)
        await writer.drain()
    async with asyncio.timeout(10):
        answer = await reader.read(-1)
    writer.close()
    await writer.wait_closed()
    return answer.split(b"\r\n")[:-1]


async def test_a_mail_is_in_the_ledger_and_readable(tmp_path: Path) -> None:
    async with simulating(tmp_path) as simulation:
        reply = await deliver(simulation, "ok-ann@gmail.sim.test", "Grüße")
        assert reply.startswith("2.0.0 Ok: queued as")
        (entry,) = simulation.ledger()
        assert entry == Entry(
            1,
            "marketing",
            "smtp",
            "ok-ann@gmail.sim.test",
            "news@shop.example",
            "<1@shop.example>",
            "0198c0de-0000-7000-8000-000000000002",
            4,
            "Grüße",
            "delivered",
        )
        found = msgspec.json.decode(
            await simulation.get("/sim/messages?to=OK-ann@gmail.sim.test"), type=list[Entry]
        )
        assert found == [entry]
        view = msgspec.json.decode(await simulation.get("/sim/messages/1"), type=View)
        assert (view.text.strip(), view.html.strip()) == ("Hi", "<p>Hi</p>")
        assert ("Message-ID", "<1@shop.example>") in view.headers
        assert view.raw.startswith("From: Shop")


async def test_the_ledger_has_the_mail_before_the_answer(tmp_path: Path) -> None:
    """The line is cut instead of answering, and yet the mail is written."""
    async with simulating(tmp_path) as simulation:
        await simulation.fault(FaultKind.CUT_AFTER_BODY, "marketing", times=1)
        with pytest.raises(aiosmtplib.SMTPServerDisconnected):
            await deliver(simulation, "ok-ann@gmail.sim.test")
        assert [entry.n for entry in simulation.ledger()] == [1]
        await deliver(simulation, "ok-ann@gmail.sim.test")
        assert [entry.n for entry in simulation.ledger()] == [1, 2]


@pytest.mark.parametrize("kind", [FaultKind.CUT_MID_BODY, FaultKind.THROTTLE, FaultKind.SERVER_ERROR])
async def test_a_fault_that_takes_nothing_leaves_no_line(tmp_path: Path, kind: FaultKind) -> None:
    async with simulating(tmp_path) as simulation:
        await simulation.fault(kind, "marketing", times=1)
        with pytest.raises(aiosmtplib.SMTPException):
            await deliver(simulation, "ok-ann@gmail.sim.test")
        assert simulation.ledger() == []
        await deliver(simulation, "ok-ann@gmail.sim.test")
        assert len(simulation.ledger()) == 1


async def test_refused_connections_come_back_on_the_same_port(tmp_path: Path) -> None:
    async with simulating(tmp_path) as simulation:
        await simulation.fault(FaultKind.REFUSE, "marketing")
        with pytest.raises(aiosmtplib.SMTPConnectError):
            await deliver(simulation, "ok-ann@gmail.sim.test")
        await simulation.clear()
        await deliver(simulation, "ok-ann@gmail.sim.test")
        assert len(simulation.ledger()) == 1


async def test_a_slow_answer_comes_after_its_delay(tmp_path: Path) -> None:
    async with simulating(tmp_path) as simulation:
        await simulation.fault(FaultKind.SLOW, "marketing", times=1, delay_ms=150)
        before = asyncio.get_running_loop().time()
        await deliver(simulation, "ok-ann@gmail.sim.test")
        assert asyncio.get_running_loop().time() - before >= 0.15


async def test_a_hanging_mail_is_not_taken_and_does_not_delay_the_end(
    tmp_path: Path,
) -> None:
    async with simulating(tmp_path) as simulation:
        await simulation.fault(FaultKind.HANG, "marketing")
        hanging = asyncio.create_task(deliver(simulation, "ok-ann@gmail.sim.test"))
        done, _ = await asyncio.wait((hanging,), timeout=0.2)
        assert not done
        before = asyncio.get_running_loop().time()
        simulation.stop.set()
        await simulation.ended
        assert asyncio.get_running_loop().time() - before < 2.0
        with pytest.raises(aiosmtplib.SMTPServerDisconnected):
            await hanging
        assert simulation.ledger() == []


async def test_mailboxes_answer_at_rcpt_like_their_providers(tmp_path: Path) -> None:
    async with simulating(tmp_path) as simulation:
        code, text = await refusal(simulation, "hard-ann@gmail.sim.test")
        assert code == 550
        assert text.startswith("5.1.1 The email account that you tried to reach does not exist.")
        assert (await refusal(simulation, "softalways-ann@corp.sim.test"))[0] == 452
        assert (await refusal(simulation, "block-ann@yahoo.sim.test"))[1].startswith("5.7.1 [BL21]")
        assert simulation.ledger() == []
        summary = await simulation.summary()
        assert summary.done == {"hard": 1, "soft": 1, "block": 1}


@pytest.mark.parametrize(("prefix", "refusals"), [("soft", 2), ("softonce", 1), ("grey", 1), ("defer", 2)])
async def test_some_mailboxes_relent(tmp_path: Path, prefix: str, refusals: int) -> None:
    async with simulating(tmp_path) as simulation:
        for _ in range(refusals):
            code, _ = await refusal(simulation, f"{prefix}-ann@corp.sim.test")
            assert 400 <= code < 500
        await deliver(simulation, f"{prefix}-ann@corp.sim.test")
        assert [entry.outcome for entry in simulation.ledger()] == ["delivered"]


async def test_a_421_at_rcpt_closes_the_connection(tmp_path: Path) -> None:
    async with simulating(tmp_path) as simulation:
        answers = await converse(
            simulation.port("marketing"),
            b"EHLO x\r\nMAIL FROM:<a@shop.example>\r\nRCPT TO:<throttle-a@yahoo.sim.test>\r\nDATA\r\n",
        )
        assert answers[-1].startswith(b"421 4.7.0 [TSS04]")


async def test_pipelined_mails_are_all_answered_in_order(tmp_path: Path) -> None:
    one = b"MAIL FROM:<a@shop.example>\r\nRCPT TO:<ok-%d@sink.sim.test>\r\nDATA\r\n"
    one += b"Subject: %d\r\n\r\n..dot\r\n.\r\n"
    async with simulating(tmp_path, fsync=True) as simulation:
        mails = b"".join(one % (n, n) for n in range(300))
        answers = await converse(simulation.port("marketing"), b"EHLO x\r\n" + mails + b"QUIT\r\n")
        queued = [answer for answer in answers if answer.startswith(b"250 2.0.0 Ok: queued")]
        assert queued == sorted(queued)
        assert len(queued) == 300
        assert [entry.subject for entry in simulation.ledger()] == [str(n) for n in range(300)]
        view = msgspec.json.decode(await simulation.get("/sim/messages/300"), type=View)
        assert view.raw == "Subject: 299\r\n\r\n.dot\r\n"


@pytest.mark.parametrize("end", [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r\n\x00.\r\n"])
async def test_no_other_end_of_data_smuggles_a_mail(tmp_path: Path, end: bytes) -> None:
    smuggled = b"MAIL FROM:<evil@shop.example>\r\nRCPT TO:<ok-b@sink.sim.test>\r\nDATA\r\nevil\r\n.\r\n"
    head = b"EHLO x\r\nMAIL FROM:<a@shop.example>\r\nRCPT TO:<ok-a@sink.sim.test>\r\nDATA\r\n"
    async with simulating(tmp_path) as simulation:
        dialogue = head + b"Subject: x\r\n\r\ntext" + end + smuggled + b"QUIT\r\n"
        answers = await converse(simulation.port("marketing"), dialogue)
        taken = [] if b"\0" not in end else ["a@shop.example"]  # bare CR or LF: the one long mail is refused
        assert [entry.sender for entry in simulation.ledger()] == taken
        assert sum(answer.startswith(b"354") for answer in answers) == 1


async def test_a_mail_over_the_limit_is_refused_and_the_next_one_taken(tmp_path: Path) -> None:
    head = b"MAIL FROM:<a@shop.example>\r\nRCPT TO:<ok-a@sink.sim.test>\r\nDATA\r\n"
    large = (b"x" * 70 + b"\r\n") * 4000
    async with simulating(tmp_path) as simulation:
        dialogue = b"EHLO x\r\n" + head + large + b".\r\n" + head + b".\r\nQUIT\r\n"
        answers = await converse(simulation.port("marketing"), dialogue)
        assert b"552 5.3.4 Message size exceeds fixed limit" in answers
        assert [entry.n for entry in simulation.ledger()] == [1]
        declared = b"EHLO x\r\nMAIL FROM:<a@shop.example> SIZE=99999999\r\nQUIT\r\n"
        assert (await converse(simulation.port("marketing"), declared))[-2].startswith(b"552 5.3.4")


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        (b"MAIL FROM:<a@b.test>\r\n", b"503"),
        (b"EHLO x\r\nRCPT TO:<a@b.test>\r\n", b"503"),
        (b"EHLO x\r\nMAIL FROM:a\r\n", b"501 5.1.7"),
        (b"EHLO x\r\nMAIL FROM:<a@b.test> FOO=1\r\n", b"555"),
        (b"EHLO x\r\nMAIL FROM:<\xc3\xa4@b.test>\r\n", b"553 5.6.7"),
        (b"EHLO x\r\nMAIL FROM:<a@b.test>\r\nDATA\r\n", b"554 5.5.1"),
        (b"EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<nobody>\r\n", b"501 5.1.3"),
        (b"EHLO x\r\nNOOP\nRSET\r\n", b"500 5.5.2"),
        (b"WHAT\r\n", b"500 5.5.2"),
        (b"EHLO x\r\nSTARTTLS\r\n", b"502"),
    ],
)
async def test_wrong_commands_are_refused(tmp_path: Path, said: bytes, answered: bytes) -> None:
    async with simulating(tmp_path) as simulation:
        answers = await converse(simulation.port("marketing"), said + b"QUIT\r\n")
        assert answers[-2].startswith(answered)


async def test_a_line_without_end_is_cut_off(tmp_path: Path) -> None:
    async with simulating(tmp_path) as simulation:
        answers = await converse(simulation.port("marketing"), b"x" * 5000)
        assert answers[-1].startswith(b"500 5.5.6")


@pytest.mark.parametrize("security", [SmtpSecurity.STARTTLS, SmtpSecurity.TLS])
@pytest.mark.parametrize("password", ["secret", "wrong"])
async def test_tls_and_authentication(tmp_path: Path, security: SmtpSecurity, password: str) -> None:
    account = SmtpAccount(name="marketing", password="secret", security=security)
    async with simulating(tmp_path, smtp=account) as simulation:
        trust = ssl.create_default_context(cafile=str(simulation.settings.certificate_path))
        client = aiosmtplib.SMTP(
            hostname="localhost",
            port=simulation.port("marketing"),
            use_tls=security is SmtpSecurity.TLS,
            start_tls=security is SmtpSecurity.STARTTLS,
            tls_context=trust,
        )
        async with client:
            if password == "wrong":
                with pytest.raises(aiosmtplib.SMTPAuthenticationError):
                    await client.login("marketing", password)
                with pytest.raises(aiosmtplib.SMTPSenderRefused):
                    await client.send_message(mail("ok-ann@gmail.sim.test"))
                return
            await client.auth_login("marketing", password)
            await client.send_message(mail("ok-ann@gmail.sim.test"))
        assert len(simulation.ledger()) == 1


async def test_what_was_pipelined_behind_starttls_is_forgotten(tmp_path: Path) -> None:
    account = SmtpAccount(name="marketing", security=SmtpSecurity.STARTTLS)
    async with simulating(tmp_path, smtp=account) as simulation:
        reader, writer = await asyncio.open_connection("127.0.0.1", simulation.port("marketing"))
        writer.write(b"EHLO x\r\nSTARTTLS\r\nMAIL FROM:<evil@shop.example>\r\n")
        answers = await reader.readuntil(b"220 2.0.0 Ready to start TLS\r\n")
        assert b"250-STARTTLS" in answers
        trust = ssl.create_default_context(cafile=str(simulation.settings.certificate_path))
        await writer.start_tls(trust, server_hostname="localhost")
        writer.write(b"EHLO x\r\nRCPT TO:<ok-a@sink.sim.test>\r\n")
        assert b"503 5.5.1" in await reader.readuntil(b"503 5.5.1 Error: need MAIL command\r\n")
        writer.close()
        await writer.wait_closed()

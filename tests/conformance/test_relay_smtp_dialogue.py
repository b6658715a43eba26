"""What the SMTP relay says, in which order, and what it makes of servers that answer oddly."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from uuid import UUID

import msgspec
import pytest
import uvloop
from smtp_scripted import Script, ScriptedSmtp

from posthouse.clock import Clock, ManualClock, SystemClock
from posthouse.domain.errors import Misconfigured
from posthouse.domain.event import BounceClass
from posthouse.domain.ids import JobId, RelayAccount
from posthouse.domain.message import RawMail
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    NotBegun,
    Outcome,
    OutcomeUnknown,
    RejectedMessage,
    RejectedRecipient,
    TryLater,
)
from posthouse.relays.smtp import SmtpAccount, SmtpRelay, Timeouts, Tls
from posthouse.relays.smtp_pool import SessionPool

LOCK_STEP = ("SIZE 6000000", "8BITMIME")
QUICK = Timeouts(connect=1.0, greeting=1.0, command=1.0, data=1.0, block=1.0, final_dot=1.0, check_every=0.02)
#: For a clock that a test moves on: its steps must not look like a server that says nothing.
PATIENT = Timeouts(check_every=0.02)
PATIENCE = 20.0


@pytest.fixture
async def server() -> AsyncIterator[ScriptedSmtp]:
    async with ScriptedSmtp() as server:
        yield server


def account_of(server: ScriptedSmtp) -> SmtpAccount:
    return SmtpAccount(
        account=RelayAccount("scripted"),
        host="127.0.0.1",
        port=server.port,
        helo_name="posthouse.example",
        tls=Tls.NONE,
        max_connections=1,
        timeouts=QUICK,
        begin_within=10.0,
    )


def relay_of(account: SmtpAccount, clock: Clock | None = None) -> SmtpRelay:
    return SmtpRelay(account, clock=clock or SystemClock(), rng=random.Random(1))


def mail(name: str, data: bytes = b"Subject: hi\r\n\r\nhello\r\n") -> RawMail:
    return RawMail(JobId(UUID(int=1)), 1, f"b+{name}@example.net", f"{name}@example.org", data, False)


def mails(*names: str) -> list[RawMail]:
    return [mail(name) for name in names]


async def send(
    account: SmtpAccount, *posts: RawMail, clock: Clock | None = None, gate: Callable[[], bool] = lambda: True
) -> list[Outcome]:
    relay = relay_of(account, clock)
    try:
        async with asyncio.timeout(PATIENCE):
            return await relay.send_many(posts, gate)
    finally:
        await relay.close()


def kinds(outcomes: list[Outcome]) -> list[type[Outcome]]:
    return [type(outcome) for outcome in outcomes]


def dialogue(server: ScriptedSmtp) -> list[str]:
    """The commands after EHLO, each by its verb and the name in it."""
    return [
        " ".join((command.partition(":")[0].split(" ")[0], *re.findall("<(.*)@", command)))
        for command in server.commands
        if not command.startswith(("EHLO", "QUIT"))
    ]


# ---- pipelining --------------------------------------------------------------------------------------------


async def test_the_next_envelope_follows_the_dot(server: ScriptedSmtp) -> None:
    outcomes = await send(account_of(server), *mails("a", "b"))
    assert kinds(outcomes) == [Accepted, Accepted]
    assert dialogue(server) == ["MAIL b+a", "RCPT a", "DATA", "MAIL b+b", "RCPT b", "DATA"]
    assert [taken.recipient for taken in server.taken] == ["a@example.org", "b@example.org"]


async def test_the_next_envelope_is_there_before_the_answer_to_the_dot() -> None:
    """What makes pipelining pay: this server answers a dot only once it has read the next DATA."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"220 hi\r\n")
            await reader.readuntil(b"\r\n")
            writer.write(b"250-hi\r\n250 PIPELINING\r\n")
            await reader.readuntil(b"DATA\r\n")
            writer.write(b"250 ok\r\n250 ok\r\n354 go\r\n")
            await reader.readuntil(b"\r\n.\r\n")
            assert await reader.readuntil(b"DATA\r\n") == (
                b"MAIL FROM:<b+b@example.net>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"
            )
            writer.write(b"250 taken a\r\n250 ok\r\n250 ok\r\n354 go\r\n")
            await reader.readuntil(b"\r\n.\r\n")
            writer.write(b"250 taken b\r\n")
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener, ScriptedSmtp() as other:
        account = replace(account_of(other), port=listener.sockets[0].getsockname()[1])
        outcomes = await send(account, *mails("a", "b"))
    assert outcomes == [Accepted("taken a", "taken a"), Accepted("taken b", "taken b")]


async def test_a_line_that_hangs_leaves_one_mail_in_doubt(server: ScriptedSmtp) -> None:
    server.script.hang_at_dot.add("a@example.org")
    outcomes = await send(account_of(server), *mails("a", "b"))
    assert isinstance(outcomes[0], OutcomeUnknown)
    assert isinstance(outcomes[1], Accepted), "it went again over another connection"
    assert server.connections == 2


async def test_step_by_step_where_pipelining_is_not_offered(server: ScriptedSmtp) -> None:
    server.script.extensions = LOCK_STEP
    server.script.on_rcpt["a@example.org"] = "550 5.1.1 no"
    server.script.on_mail["b+b@example.net"] = "553 5.1.8 no"
    outcomes = await send(account_of(server), *mails("a", "b", "c"))
    assert kinds(outcomes) == [RejectedRecipient, RejectedMessage, Accepted]
    assert dialogue(server) == ["MAIL b+a", "RCPT a", "RSET", "MAIL b+b", "MAIL b+c", "RCPT c", "DATA"]


# ---- refusals ----------------------------------------------------------------------------------------------


async def test_a_refused_recipient_and_a_refused_data(server: ScriptedSmtp) -> None:
    server.script.on_rcpt["a@example.org"] = "550 5.1.1 no such user"
    outcomes = await send(account_of(server), *mails("a", "b"))
    assert outcomes[0] == RejectedRecipient(BounceClass.HARD, "550 5.1.1 no such user", 550, "5.1.1")
    assert isinstance(outcomes[1], Accepted)
    assert dialogue(server) == ["MAIL b+a", "RCPT a", "DATA", "RSET", "MAIL b+b", "RCPT b", "DATA"]


async def test_a_lone_dot_where_data_is_asked_for_all_the_same(server: ScriptedSmtp) -> None:
    """RFC 2920 section 3.1: the content of a mail nobody may get does not leave the house."""
    server.script.data_despite_refusals = True
    server.script.on_rcpt["a@example.org"] = "550 5.1.1 no such user"
    outcomes = await send(account_of(server), *mails("a", "b"))
    assert isinstance(outcomes[0], RejectedRecipient)
    assert isinstance(outcomes[1], Accepted)
    assert [taken.recipient for taken in server.taken] == ["b@example.org"]


async def test_a_refused_sender_needs_no_reset(server: ScriptedSmtp) -> None:
    server.script.on_mail["b+a@example.net"] = "451 4.3.0 not now"
    outcomes = await send(account_of(server), *mails("a", "b"))
    assert kinds(outcomes) == [TryLater, Accepted]
    assert "RSET" not in server.commands


async def test_a_refusal_counts_though_the_line_breaks_after_it(server: ScriptedSmtp) -> None:
    server.script.on_mail["b+a@example.net"] = "550 5.7.1 blocked"
    server.script.cut_at_rcpt.add("a@example.org")
    [outcome] = await send(account_of(server), mail("a"))
    assert outcome == RejectedRecipient(BounceClass.BLOCK, "550 5.7.1 blocked", 550, "5.7.1")


async def test_a_reset_that_is_refused_ends_the_connection(server: ScriptedSmtp) -> None:
    server.script.on_rcpt["a@example.org"] = "550 5.1.1 no"
    server.script.rset = "502 5.5.1 what?"
    outcomes = await send(account_of(server), *mails("a", "b"))
    assert kinds(outcomes) == [RejectedRecipient, Accepted]
    assert server.connections == 2


async def test_a_refused_parameter_is_not_sent_again(server: ScriptedSmtp) -> None:
    server.script.on_mail["b+a@example.net"] = "555 5.5.4 Unsupported option: SIZE"
    outcomes = await send(account_of(server), *mails("a", "b"))
    assert kinds(outcomes) == [TryLater, Accepted]
    mail_commands = [command for command in server.commands if command.startswith("MAIL")]
    assert [" SIZE=" in command for command in mail_commands] == [True, False, False]


async def test_account_trouble_stops_the_rest(server: ScriptedSmtp) -> None:
    server.script.on_mail["b+a@example.net"] = "530 5.7.0 Authentication required"
    outcomes = await send(account_of(server), *mails("a", "b", "c"))
    assert isinstance(outcomes[0], AccountTrouble)
    assert kinds(outcomes[2:]) == [NotBegun]
    assert len(server.taken) <= 1


@pytest.mark.parametrize("code", ["250 2.0.0 yes?", "399 what?"])
async def test_data_that_is_not_asked_for_is_not_sent(server: ScriptedSmtp, code: str) -> None:
    server.script.on_data["a@example.org"] = code
    outcomes = await send(account_of(server), *mails("a", "b"))
    assert isinstance(outcomes[0], AccountTrouble), outcomes
    assert server.taken == []


async def test_hints_of_when_to_come_back(server: ScriptedSmtp) -> None:
    server.script.on_rcpt["a@example.org"] = "450 4.2.0 Greylisted"
    server.script.on_rcpt["b@example.org"] = "451 4.3.0 not now"
    outcomes = await send(account_of(server), *mails("a", "b"))
    assert isinstance(outcomes[0], TryLater)
    assert outcomes[0].retry_after is not None
    assert 300 <= outcomes[0].retry_after <= 900
    assert outcomes[1] == TryLater("451 4.3.0 not now", smtp_code=451, enhanced_code="4.3.0")


# ---- connections that end ----------------------------------------------------------------------------------


async def test_a_server_that_takes_three_mails_a_connection(server: ScriptedSmtp) -> None:
    server.script.mails_per_connection = 3
    outcomes = await send(account_of(server), *mails(*"abcdefgh"))
    assert kinds(outcomes) == [Accepted] * 8
    assert server.connections == 3
    assert len({taken.recipient for taken in server.taken}) == len(server.taken) == 8


async def test_we_change_the_connection_before_we_are_told_to(server: ScriptedSmtp) -> None:
    account = replace(account_of(server), mails_per_connection=3)
    outcomes = await send(account, *mails(*"abcdefgh"))
    assert kinds(outcomes) == [Accepted] * 8
    assert server.connections == 3


@pytest.mark.parametrize("extensions", [Script().extensions, LOCK_STEP], ids=["pipelining", "lock-step"])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
async def test_421_at_any_time_took_nothing(
    server: ScriptedSmtp, stage: str, extensions: tuple[str, ...]
) -> None:
    server.script.extensions = extensions
    goodbye = "421 4.3.0 going down"
    match stage:
        case "mail":
            server.script.on_mail["b+a@example.net"] = goodbye
        case "rcpt":
            server.script.on_rcpt["a@example.org"] = goodbye
        case "data":
            server.script.on_data["a@example.org"] = goodbye
        case _:
            server.script.on_dot["a@example.org"] = goodbye
    outcomes = await send(account_of(server), *mails("a", "b"))
    assert isinstance(outcomes[0], TryLater)
    assert outcomes[0].smtp_code == 421
    assert isinstance(outcomes[1], Accepted)


async def test_a_line_that_broke_while_idle_costs_no_mail(server: ScriptedSmtp) -> None:
    relay = relay_of(account_of(server))
    try:
        first = await relay.send_many([mail("a")], lambda: True)
        server.drop_connections()
        second = await relay.send_many([mail("b")], lambda: True)
    finally:
        await relay.close()
    assert kinds(first + second) == [Accepted, Accepted]
    assert server.connections == 2


async def test_a_receiver_that_gives_up_as_it_is_served_leaks_no_connection(server: ScriptedSmtp) -> None:
    pool = SessionPool(account_of(server), SystemClock())
    try:
        first = await pool.borrow(PATIENCE)
        waiting = asyncio.create_task(pool.borrow(PATIENCE))
        await asyncio.sleep(0)
        pool.give_back(first)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await pool.borrow(PATIENCE) is first
    finally:
        await pool.close()
    assert server.connections == 1


async def test_a_server_with_enough_connections_is_served_by_those_it_has(server: ScriptedSmtp) -> None:
    server.script.most_connections = 2
    account = replace(account_of(server), max_connections=6)
    outcomes = await send(account, *mails(*(f"n{n}" for n in range(64))))
    assert kinds(outcomes) == [Accepted] * 64


async def test_idle_connections_are_used_again_and_closed_in_time(server: ScriptedSmtp) -> None:
    clock = ManualClock()
    relay = relay_of(replace(account_of(server), idle_seconds=0.01), clock)
    try:
        for name in "abc":
            assert kinds(await relay.send_many([mail(name)], lambda: True)) == [Accepted]
        assert server.connections == 1
        clock.advance(1.0)
        async with asyncio.timeout(PATIENCE):
            await server.wait_for(lambda: "QUIT" in server.commands)
        assert kinds(await relay.send_many([mail("d")], lambda: True)) == [Accepted]
        assert server.connections == 2
    finally:
        await relay.close()


async def test_a_refused_mail_in_the_middle_of_its_content(server: ScriptedSmtp) -> None:
    server.script.answer_in_data["a@example.org"] = "552 5.3.4 that is enough"
    [outcome] = await send(account_of(server), mail("a", b"a line of a large mail\r\n" * 100_000))
    assert outcome == RejectedMessage("552 5.3.4 that is enough", 552, "5.3.4")


async def test_a_large_mail_arrives_whole(server: ScriptedSmtp) -> None:
    data = b".a line of a large mail\r\n" * 100_000
    outcomes = await send(account_of(server), mail("a", data), mail("b"))
    assert kinds(outcomes) == [Accepted, Accepted]
    assert server.taken[0].data == data


# ---- hostile servers ---------------------------------------------------------------------------------------


async def test_an_answer_given_ahead_is_not_an_acceptance(server: ScriptedSmtp) -> None:
    server.script.on_data["a@example.org"] = "354 go ahead\r\n250 2.0.0 Ok: queued as NEVER"
    [outcome] = await send(account_of(server), mail("a"))
    assert isinstance(outcome, TryLater), outcome
    assert server.taken == []


@pytest.mark.parametrize(
    "greeting",
    ["220 hi\r\n220 hi", "HTTP/1.1 400 Bad Request", "554 no", "421 later", "x" * 9_000, "220-a\r\n221 b"],
)
async def test_a_greeting_that_is_none_slows_the_relay(server: ScriptedSmtp, greeting: str) -> None:
    server.script.greeting = greeting
    [outcome] = await send(account_of(server), mail("a"))
    assert isinstance(outcome, TryLater), outcome
    assert outcome.slow_relay
    assert server.begun == 0


async def test_a_server_from_before_ehlo(server: ScriptedSmtp) -> None:
    server.script.ehlo = "502 5.5.1 what?"
    outcomes = await send(account_of(server), *mails("a", "b"))
    assert kinds(outcomes) == [Accepted, Accepted]
    assert "MAIL FROM:<b+a@example.net>" in server.commands


async def test_words_after_starttls_do_not_count_as_secure(server: ScriptedSmtp) -> None:
    """CVE-2011-0411 from the client's side."""
    server.script.extensions += ("STARTTLS",)
    server.script.starttls = "220 go\r\n250-evil\r\n250 AUTH PLAIN"
    account = replace(account_of(server), tls=Tls.STARTTLS, user="me", password="secret")
    [outcome] = await send(account, mail("a"))
    assert isinstance(outcome, TryLater)
    assert outcome.slow_relay
    assert not any(command.startswith("AUTH") for command in server.commands)


async def test_starttls_is_never_forgone(server: ScriptedSmtp) -> None:
    [outcome] = await send(replace(account_of(server), tls=Tls.STARTTLS), mail("a"))
    assert isinstance(outcome, AccountTrouble)
    assert "STARTTLS" in outcome.reply
    assert server.begun == 0


async def test_a_tls_handshake_that_fails_slows_the_relay(server: ScriptedSmtp) -> None:
    server.script.extensions += ("STARTTLS",)
    server.script.starttls = "220 go"
    for tls in (Tls.STARTTLS, Tls.IMPLICIT):
        [outcome] = await send(replace(account_of(server), tls=tls), mail("a"))
        assert isinstance(outcome, TryLater), outcome
        assert outcome.slow_relay


# ---- signing in --------------------------------------------------------------------------------------------


async def test_no_password_in_clear_text(server: ScriptedSmtp) -> None:
    server.script.extensions += ("AUTH PLAIN",)
    [outcome] = await send(replace(account_of(server), user="me", password="secret"), mail("a"))
    assert isinstance(outcome, AccountTrouble)
    assert not any(command.startswith("AUTH") for command in server.commands)


@pytest.mark.parametrize(
    ("mechanisms", "said"),
    [
        ("LOGIN PLAIN", ["AUTH PLAIN AG3DqQBzZWNyZXQ="]),
        ("LOGIN", ["AUTH LOGIN", "bcOp", "c2VjcmV0"]),
    ],
)
async def test_plain_and_login(server: ScriptedSmtp, mechanisms: str, said: list[str]) -> None:
    server.script.extensions += (f"AUTH {mechanisms}",)
    account = replace(account_of(server), user="mé", password="secret", allow_clear_text_auth=True)
    assert kinds(await send(account, mail("a"))) == [Accepted]
    assert server.commands[1 : 1 + len(said)] == said


@pytest.mark.parametrize(
    ("reply", "kind"),
    [("535 5.7.8 no", AccountTrouble), ("454 4.7.0 later", TryLater), ("334 more?", AccountTrouble)],
)
async def test_a_refused_sign_in(server: ScriptedSmtp, reply: str, kind: type[Outcome]) -> None:
    server.script.extensions += ("AUTH PLAIN",)
    server.script.auth = reply
    account = replace(account_of(server), user="me", password="secret", allow_clear_text_auth=True)
    outcomes = await send(account, *mails("a", "b"))
    assert kinds(outcomes) == [kind, kind]


async def test_a_mechanism_we_do_not_know(server: ScriptedSmtp) -> None:
    server.script.extensions += ("AUTH GSSAPI",)
    account = replace(account_of(server), user="me", password="secret", allow_clear_text_auth=True)
    assert kinds(await send(account, mail("a"))) == [AccountTrouble]


def test_the_password_is_not_shown_and_settings_are_checked() -> None:
    account = SmtpAccount(RelayAccount("r"), "h.example", 25, "us.example", user="me", password="hunter2")
    assert "hunter2" not in repr(account)
    for change in (
        {"host": "a b"},
        {"host": "a\r\nb"},
        {"helo_name": "us\r\nMAIL"},
        {"user": None},
        {"password": "a\0b"},
    ):
        with pytest.raises(Misconfigured):
            replace(account, **change)
    with pytest.raises(Misconfigured):
        replace(account, port=0)
    with pytest.raises(Misconfigured):
        relay_of(replace(account, ca_file="/does/not/exist"))


# ---- time --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["rcpt", "dot"])
async def test_the_time_outs_of_the_standard(server: ScriptedSmtp, stage: str) -> None:
    (server.script.hang_at_rcpt if stage == "rcpt" else server.script.hang_at_dot).add("a@example.org")
    clock, limit = ManualClock(), 300.0 if stage == "rcpt" else 600.0
    relay = relay_of(replace(account_of(server), timeouts=Timeouts(check_every=0.001)), clock)
    call = asyncio.create_task(relay.send_many([mail("a")], lambda: True))
    try:
        async with asyncio.timeout(PATIENCE):
            await server.wait_for(lambda: "DATA" in server.commands or (stage == "rcpt" and server.begun > 0))
            clock.advance(limit - 1)
            done, _ = await asyncio.wait([call], timeout=0.05)
            assert not done, "a patient server is waited for"
            clock.advance(limit + 1)
            [outcome] = await call
    finally:
        await relay.close()
    assert isinstance(outcome, OutcomeUnknown if stage == "dot" else TryLater), outcome


async def test_no_connection_in_time_is_not_begun(server: ScriptedSmtp) -> None:
    """Both while the server does not greet and while another call holds the only connection."""
    server.script.silent = True
    account = replace(account_of(server), begin_within=0.05, timeouts=replace(QUICK, greeting=10.0))
    assert kinds(await send(account, *mails("a", "b"))) == [NotBegun, NotBegun]
    assert server.begun == 0


async def test_a_slow_greeting_serves_the_next_call(server: ScriptedSmtp) -> None:
    server.script.hold_greeting = asyncio.Event()
    relay = relay_of(replace(account_of(server), begin_within=0.05, timeouts=Timeouts()))
    try:
        assert kinds(await relay.send_many([mail("a")], lambda: True)) == [NotBegun]
        server.script.hold_greeting.set()
        async with asyncio.timeout(PATIENCE):
            await server.wait_for(lambda: bool(server.commands))
            outcomes: list[Outcome] = [NotBegun("")]
            while kinds(outcomes) == [NotBegun]:
                outcomes = await relay.send_many([mail("a")], lambda: True)
        assert kinds(outcomes) == [Accepted]
        assert server.connections == 1
    finally:
        await relay.close()


async def test_what_waits_too_long_behind_a_slow_mail_goes_back(server: ScriptedSmtp) -> None:
    """After a claim nothing waits longer than a second: its suppression may have changed."""
    clock = ManualClock()
    server.script.hold_dot["a@example.org"] = held = asyncio.Event()
    relay = relay_of(replace(account_of(server), begin_within=1.0, timeouts=PATIENT), clock)
    call = asyncio.create_task(relay.send_many(mails("a", "b", "c"), lambda: True))
    try:
        async with asyncio.timeout(PATIENCE):
            await server.wait_for(lambda: bool(server.taken))
            clock.advance(1.5)
            held.set()
            outcomes = await call
    finally:
        await relay.close()
    assert kinds(outcomes) == [Accepted, Accepted, NotBegun], "b had begun: its envelope was out"


async def test_the_gate_is_asked_again_before_a_late_content(server: ScriptedSmtp) -> None:
    clock, lease = ManualClock(), [True]
    server.script.hold_dot["a@example.org"] = held = asyncio.Event()
    relay = relay_of(replace(account_of(server), timeouts=PATIENT), clock)
    call = asyncio.create_task(relay.send_many(mails("a", "b", "c"), lambda: lease[0]))
    try:
        async with asyncio.timeout(PATIENCE):
            await server.wait_for(lambda: bool(server.taken))
            clock.advance(5.0)
            lease[0] = False
            held.set()
            outcomes = await call
    finally:
        await relay.close()
    assert isinstance(outcomes[0], Accepted)
    assert isinstance(outcomes[1], TryLater), "its envelope was out, its content never"
    assert isinstance(outcomes[2], NotBegun)
    assert [taken.recipient for taken in server.taken] == ["a@example.org"]


# ---- many --------------------------------------------------------------------------------------------------


async def test_a_broken_line_has_one_mail_in_doubt_on_each_connection(server: ScriptedSmtp) -> None:
    names = [f"m{n}" for n in range(64)]
    server.script.hang_at_dot.update(f"{name}@example.org" for name in names)
    account = replace(account_of(server), max_connections=4, begin_within=0.2)
    outcomes = await send(account, *mails(*names))
    doubtful = sum(isinstance(outcome, OutcomeUnknown) for outcome in outcomes)
    assert doubtful == len(server.taken)
    assert 1 <= doubtful <= server.connections
    assert all(isinstance(outcome, OutcomeUnknown | NotBegun | TryLater) for outcome in outcomes)


async def test_hostile_addresses_add_no_command(server: ScriptedSmtp) -> None:
    rng = random.Random(7)
    pieces = [
        "a",
        "\r\n",
        "RSET",
        "> X=1",
        "<",
        ">",
        " ",
        "\0",
        "é",
        '"',
        "\\",
        ",",
        ";",
        "@b",
        ".",
        "DATA\r\n",
    ]
    hostile = ["".join(rng.choices(pieces, k=rng.randint(1, 6))) + "@example.org" for _ in range(2_000)]
    posts = [msgspec.structs.replace(mail("x"), recipient=address) for address in hostile]
    outcomes = await send(account_of(server), *posts)
    sent = [
        post.recipient for post, outcome in zip(posts, outcomes, strict=True) if isinstance(outcome, Accepted)
    ]
    assert all(isinstance(outcome, Accepted | RejectedMessage) for outcome in outcomes)
    expected = [line for name in sent for line in ("MAIL", f"RCPT TO:<{name}>", "DATA")]
    seen = [line if line.startswith(("RCPT", "DATA")) else line[:4] for line in server.commands]
    assert [line for line in seen if line not in ("EHLO", "QUIT")] == expected


def test_the_same_on_uvloop() -> None:
    """Its transports and its buffers are not asyncio's."""

    async def scenario() -> None:
        async with ScriptedSmtp() as server:
            server.script.on_rcpt["n7@example.org"] = "550 5.1.1 no"
            account = replace(account_of(server), max_connections=3)
            outcomes = await send(account, *mails(*(f"n{n}" for n in range(40))))
            assert kinds(outcomes) == [Accepted] * 7 + [RejectedRecipient] + [Accepted] * 32
            server.script.cut_in_data.add("cut@example.org")
            [cut] = await send(account, mail("cut", b"a line of a large mail\r\n" * 100_000))
            assert isinstance(cut, TryLater), cut
            large = mail("large", b"a line of a large mail\r\n" * 100_000)
            assert kinds(await send(account, large)) == [Accepted]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())

"""The command line as a shell sees it: what it prints, where, and its exit code."""

import asyncio
import io
import os
import random
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from api_house import running_api

from posthouse.cli.exits import Exit
from posthouse.cli.main import main
from posthouse.domain.ids import day_of, uuid7
from posthouse.domain.stream import Stream
from posthouse.storage import keys, partitions
from posthouse.storage.db import Database, Session
from posthouse.storage.embedded import Durability, EmbeddedPostgres


@dataclass(frozen=True)
class Told:
    code: int
    out: str
    err: str

    def json(self) -> dict[str, object]:
        return msgspec.json.decode(self.out, type=dict[str, object])

    def error(self) -> dict[str, object]:
        return msgspec.json.decode(self.err, type=dict[str, dict[str, object]])["error"]


@dataclass(frozen=True)
class Shell:
    folder: Path
    environment: Mapping[str, str]
    patch: pytest.MonkeyPatch

    async def posthouse(self, *words: str, stdin: str = "", **environment: str) -> Told:
        """One call, in this process: a second of Python's start is spared."""
        with self.patch.context() as patch:
            patch.chdir(self.folder)
            for name, value in {**self.environment, **environment}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            return await asyncio.to_thread(_call, words)

    async def process(self, *words: str, **environment: str) -> Told:
        """One call, as a process of its own."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "posthouse", *words),
            cwd=self.folder,
            env={**os.environ, **self.environment, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return Told(process.returncode, out.decode(), err.decode())


def _call(words: Sequence[str]) -> Told:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
        main(words)
    code = end.value.code
    assert isinstance(code, int)
    return Told(code, out.getvalue(), err.getvalue())


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A shell in an empty folder, with no database named."""
    for name in list(os.environ):
        if name.startswith(("POSTHOUSE", "DATABASE")):
            monkeypatch.delenv(name)
    return Shell(tmp_path, {"COLUMNS": "200"}, monkeypatch)


@pytest.fixture
async def shell(bare: Shell, pg_dsn: str, database: Database) -> Shell:
    """On a migrated database with its partitions."""
    await partitions.ensure(database, datetime.now(UTC).date(), rng=random.Random(1))
    return replace(bare, environment={**bare.environment, "DATABASE_URL": pg_dsn})


def new_job(number: int) -> UUID:
    return uuid7(int(datetime.now(UTC).timestamp() * 1000), number)


async def accept(session: Session, job: UUID, status: str = "PENDING", *, due: str = "now()") -> None:
    """A job in a state, with its books and its first event."""
    day = day_of(job)
    await session.script(f"""
        INSERT INTO email_job (job_id, message_id, due_at, expires_at, created_at, status, stream, to_address,
                               address_key, from_address, subject, attempt)
        VALUES ('{job}', '{job}', {due}, now() + interval '1 day', '{day}', '{status}', 'transactional',
                'jane@mail.example', 'jane@mail.example', 's@shop.example', E'Hello \\x1b[31m', 1);
        INSERT INTO acceptance_ledger VALUES ('{day}', 'transactional', NULL, 1);
        INSERT INTO job_delta VALUES ('{day}', 'transactional', NULL, NULL, '{status}', 1);
        INSERT INTO email_event (job_id, event_id, occurred_at, attempt, type, origin)
        VALUES ('{job}', '{job}', now(), 0, 'accepted', 'house');
        INSERT INTO event_ledger VALUES ('{day}', 1)""")


async def test_version(bare: Shell) -> None:
    told = await bare.process("version")
    assert told.code == 0
    assert list(told.json()) == ["version"]


async def test_a_wrong_option_is_a_usage_error(bare: Shell) -> None:
    assert (await bare.posthouse("events", "--nothing")).code == Exit.USAGE
    assert (await bare.posthouse("events", "not-an-id")).code == Exit.USAGE
    assert (await bare.posthouse("nothing")).code == Exit.USAGE


async def test_a_configuration_that_is_wrong_is_named(bare: Shell) -> None:
    missing = await bare.posthouse("--config", "none.toml", "keys", "list")
    assert (missing.code, missing.error()["code"]) == (Exit.MISCONFIGURED, "misconfigured")
    (bare.folder / "posthouse.toml").write_text("[house]\ncolour = 1\n")
    unknown = await bare.posthouse("keys", "list")
    assert unknown.code == Exit.MISCONFIGURED
    assert "posthouse.toml" in str(unknown.error()["message"])


async def test_a_database_that_is_away_can_be_tried_again(bare: Shell) -> None:
    told = await bare.posthouse("keys", "list", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert (told.code, told.error()["code"]) == (Exit.UNAVAILABLE, "unavailable")
    assert told.out == ""


async def test_migrate_then_nothing_to_do(bare: Shell, empty_dsn: str) -> None:
    assert (await bare.posthouse("keys", "list", DATABASE_URL=empty_dsn)).code == Exit.MISCONFIGURED
    first, second = [await bare.posthouse("migrate", DATABASE_URL=empty_dsn) for _ in range(2)]
    assert first.json()["applied"]
    assert second.json() == {"applied": []}
    assert (await bare.posthouse("keys", "list", DATABASE_URL=empty_dsn)).json() == {"data": []}


async def test_a_key_is_shown_once_works_and_ends(shell: Shell, database: Database) -> None:
    made = (
        await shell.posthouse(
            *("keys", "create", "shop", "--stream", "marketing", "--from-domain", "news.shop.example")
        )
    ).json()
    secret = keys.read_secret(str(made["key"]))
    assert secret is not None
    found = await keys.find(database, secret)
    assert found is not None
    assert (found.name, found.stream, found.from_domains) == (
        "shop",
        Stream.MARKETING,
        frozenset({"news.shop.example"}),
    )
    listed = await shell.posthouse("keys", "list")
    assert str(made["id"]) in listed.out
    assert secret not in listed.out
    assert (await shell.posthouse("keys", "revoke", str(made["id"]))).code == 0
    assert await keys.find(database, secret) is None
    again = await shell.posthouse("keys", "revoke", str(UUID(int=1)))
    assert (again.code, again.error()["code"]) == (Exit.NOT_FOUND, "not_found")


async def test_a_mail_and_its_timeline_for_programs_and_for_people(shell: Shell, database: Database) -> None:
    job = new_job(1)
    async with database.session() as session:
        await accept(session, job)
    mail = (await shell.posthouse("emails", "get", str(job))).json()
    assert (mail["id"], mail["status"], mail["stream"]) == (str(job), "pending", "transactional")
    events = (await shell.posthouse("events", str(job))).json()
    assert events == {"data": mail["timeline"]}
    seen = await on_a_terminal(shell, "emails", "get", str(job))
    assert "jane@mail.example" in seen
    assert "accepted" in seen
    assert "Hello  [31m" in seen  # what a stranger wrote cannot steer the terminal
    missing = await shell.posthouse("events", str(UUID(int=5)))
    assert missing.code == Exit.NOT_FOUND


async def on_a_terminal(shell: Shell, *words: str) -> str:
    """What a person sees, without colours."""
    leader, follower = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "posthouse", *words),
        cwd=shell.folder,
        env={**os.environ, **shell.environment, "NO_COLOR": "1", "TERM": "dumb"},
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    seen = bytearray()
    while chunk := await asyncio.to_thread(_read, leader):
        seen += chunk
    os.close(leader)
    assert await process.wait() == 0, seen.decode()
    return seen.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux's way to say that the other end is closed
        return b""


@pytest.mark.parametrize(("word", "status"), [("sent", "SENT"), ("again", "PENDING"), ("failed", "FAILED")])
async def test_an_unknown_outcome_is_settled_by_the_operator(
    shell: Shell, database: Database, word: str, status: str
) -> None:
    job = new_job(1)
    async with database.session() as session:
        await accept(session, job, "UNKNOWN")
    told = await shell.posthouse("emails", "resolve", str(job), "--as", word, "--reason", "their log says so")
    assert told.json() == {"id": str(job), "resolved_as": word}
    mail = (await shell.posthouse("emails", "get", str(job))).json()
    assert mail["status"] == status.lower()
    assert "their log says so" in str(mail["timeline"])
    again = await shell.posthouse("emails", "resolve", str(job), "--as", "sent", "--reason", "x")
    assert (again.code, again.error()["code"]) == (Exit.CONFLICT, "not_unknown")
    assert (await shell.posthouse("doctor", "--audit")).out.count('"books","health":"ok"') == 1


async def test_a_reason_must_be_given(shell: Shell) -> None:
    told = await shell.posthouse("emails", "resolve", str(UUID(int=1)), "--as", "sent", "--reason", " ")
    assert told.code == Exit.USAGE


@dataclass(frozen=True)
class Line:
    name: str
    health: str
    words: str


def checks(told: Told) -> dict[str, Line]:
    lines = msgspec.convert(told.json()["checks"], list[Line])
    return {line.name: line for line in lines}


async def test_the_doctor_finds_what_is_wrong(shell: Shell, database: Database) -> None:
    async with _port() as port:
        (shell.folder / "posthouse.toml").write_text(_two_relays(port))
        well = await shell.posthouse("doctor", "--audit")
        assert (well.code, well.json()["healthy"]) == (Exit.OK, True)
        assert checks(well)["relay one"].health == "ok"
    async with database.session() as session:
        await accept(session, new_job(1), due="now() - interval '40 s'")
        await accept(session, new_job(2), "SENDING")
        await accept(session, new_job(3), "UNKNOWN")
        await session.script(f"""
            DELETE FROM email_event WHERE job_id = '{(await _any_job(session))}';
            INSERT INTO dead_letter (source, reason, payload) VALUES ('inbox', 'noise', '');
            INSERT INTO relay_inbox (relay, account, headers, body, received_at)
            VALUES ('sendgrid', 'one', '{{}}', '', now() - interval '5 min');
            INSERT INTO worker VALUES ('{UUID(int=3)}', 'worker', 'marketing', 'here', 7, now(),
                                       now() - interval '1 min');
            DROP TABLE email_job_p{datetime.now(UTC) + timedelta(days=7):%Y%m%d}""")
    sick = await shell.posthouse("doctor", "--audit")
    assert (sick.code, sick.json()["healthy"]) == (Exit.FOUND, False)
    health = {name: line.health for name, line in checks(sick).items() if line.health != "ok"}
    assert health == {
        "relay one": "failed",
        "relay two": "failed",
        "keys": "warning",
        "partitions": "failed",
        "transactional queue": "failed",
        "workers": "warning",
        "stuck jobs": "failed",
        "unknown outcomes": "warning",
        "callbacks": "warning",
        "dead letters": "warning",
        "books": "failed",
    }
    assert "residual 1" in checks(sick)["books"].words


async def _any_job(session: Session) -> object:
    rows = await session.fetch("audited_jobs", UUID(int=0), 1)
    return rows[0][0]


@asynccontextmanager
async def _port() -> AsyncIterator[int]:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _two_relays(port: int) -> str:
    return f"""
[streams.transactional]
relays = ["one"]
from_domains = ["shop.example"]
tracking_url = "https://t.shop.example"
bounce_domain = "b.shop.example"
[streams.marketing]
relays = ["two"]
from_domains = ["news.example"]
tracking_url = "https://t.news.example"
bounce_domain = "b.news.example"
[relays.one]
kind = "smtp"
host = "127.0.0.1"
port = {port}
[relays.two]
kind = "sendgrid"
base_url = "http://127.0.0.1:{port}"
"""


async def test_the_doctor_says_what_keeps_it_from_looking(bare: Shell, empty_dsn: str) -> None:
    away = await bare.posthouse("doctor", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert (away.code, checks(away)["database"].health) == (Exit.FOUND, "failed")
    raw = await bare.posthouse("doctor", DATABASE_URL=empty_dsn)
    assert checks(raw)["migrations"].health == "failed"


async def test_audit_compares_and_its_exit_code_tells(shell: Shell, database: Database) -> None:
    jobs = [new_job(number) for number in range(3)]
    async with database.session() as session:
        for job in jobs:
            await accept(session, job, "SENT")
    client, sink = shell.folder / "client.jsonl", shell.folder / "sink.jsonl"
    client.write_text(
        "".join(f'{{"id":"{job}","recipients":[{{"id":"{job}","email":"a@b.example"}}]}}\n' for job in jobs)
    )
    arrived = [f'{{"n":{number},"job_id":"{job}","attempt":1}}\n' for number, job in enumerate(jobs)]
    words = ("audit", "--ledger", str(client), "--sink", str(sink), "--settled")
    sink.write_text("".join(arrived))
    clean = await shell.posthouse(*words)
    assert (clean.code, clean.json()["clean"], clean.json()["residual"]) == (Exit.OK, True, 0)
    sink.write_text("".join([arrived[0], arrived[0], arrived[1]]))
    found = await shell.posthouse(*words)
    assert found.code == Exit.FOUND
    report = found.json()
    assert (report["lost"], report["unexplained_duplicates"]) == (1, 1)
    assert report["examples"] == {
        "lost": [str(jobs[2])],
        "unexplained_duplicates": [str(jobs[0])],
        "sent_but_not_arrived": [str(jobs[2])],
    }
    nothing = await shell.posthouse("audit", "--ledger", "none.jsonl", "--sink", str(sink))
    assert nothing.code == Exit.NOT_FOUND


async def test_send_as_an_application_does(bare: Shell, database: Database) -> None:
    words = ("send", "--from", "Shop <s@shop.example>", "--to", "jane@mail.sim.test", "--subject", "Hello")
    async with running_api(database) as api:
        reach = {"POSTHOUSE_URL": api.base, "POSTHOUSE_API_KEY": api.secret}
        once = [
            await bare.posthouse(*words, "--text", "-", "--idempotency-key", "k1", stdin="It works.", **reach)
            for _ in range(2)
        ]
        assert once[0].code == 0, once[0].err
        assert once[0].json() == once[1].json()
        (recipient,) = msgspec.convert(once[0].json()["recipients"], list[dict[str, str]])
        assert recipient["email"] == "jane@mail.sim.test"
        empty = await bare.posthouse(*words, **reach)
        assert empty.code == Exit.USAGE
        stranger = await bare.posthouse(*words, "--text", "x", **{**reach, "POSTHOUSE_API_KEY": "ph_live_no"})
        assert stranger.code == Exit.FORBIDDEN
        unknown = await bare.posthouse(*words[:5], "--template", "none", "--var", "n=1", **reach)
        assert unknown.code in (Exit.NOT_FOUND, Exit.USAGE)
    nobody = await bare.posthouse(*words, "--text", "x", **reach)
    assert nobody.code == Exit.UNAVAILABLE
    assert "--idempotency-key" in str(nobody.error()["message"])
    keyless = await bare.posthouse(*words, "--text", "x")
    assert keyless.code == Exit.USAGE


async def test_the_embedded_database_is_reached_whether_it_runs_or_not(bare: Shell) -> None:
    home = {"POSTHOUSE_DATA_DIR": str(bare.folder / "data")}
    assert (await bare.process("migrate", **home)).json()["applied"]
    made = (await bare.process("keys", "create", "first", **home)).json()
    async with EmbeddedPostgres(bare.folder / "data" / "postgres", durability=Durability.NONE):
        listed = await bare.process("keys", "list", **home)
    assert listed.code == 0, listed.err
    assert str(made["id"]) in listed.out

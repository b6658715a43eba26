"""The command line as a shell sees it: what it prints, where, and its exit code."""

from uuid import UUID

import msgspec
import pytest
from api_house import running_api
from cli_shell import Shell, accept, new_job, on_a_terminal

from posthouse.cli.exits import Exit
from posthouse.domain.stream import Stream
from posthouse.storage import keys
from posthouse.storage.db import Database
from posthouse.storage.embedded import Durability, EmbeddedPostgres


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
    assert (found.scopes, found.sandbox) == (keys.ALL_SCOPES, False)
    listed = await shell.posthouse("keys", "list")
    assert str(made["id"]) in listed.out
    assert secret not in listed.out
    assert (await shell.posthouse("keys", "revoke", str(made["id"]))).code == 0
    assert await keys.find(database, secret) is None
    again = await shell.posthouse("keys", "revoke", str(UUID(int=1)))
    assert (again.code, again.error()["code"]) == (Exit.NOT_FOUND, "not_found")


async def test_a_key_for_reading_and_for_tests(shell: Shell, database: Database) -> None:
    words = ("keys", "create", "ci", "--test", "--scope", "send", "--scope", "read")
    made = (await shell.posthouse(*words)).json()
    assert (made["environment"], made["scopes"]) == ("test", ["read", "send"])
    secret = keys.read_secret(str(made["key"]))
    assert secret is not None
    assert secret.startswith(keys.TEST_PREFIX)
    found = await keys.find(database, secret)
    assert found is not None
    assert (found.scopes, found.sandbox) == (frozenset({keys.KeyScope.READ, keys.KeyScope.SEND}), True)
    seen = await on_a_terminal(shell, "keys", "list")
    assert str(made["id"]) in seen
    assert "never" in seen
    assert "test" in seen
    assert (await shell.posthouse("keys", "create", "x", "--scope", "fly")).code == Exit.USAGE


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
    assert (await shell.posthouse("doctor", "--audit")).out.count('"books","state":"ok"') == 1


async def test_a_reason_must_be_given(shell: Shell) -> None:
    told = await shell.posthouse("emails", "resolve", str(UUID(int=1)), "--as", "sent", "--reason", " ")
    assert told.code == Exit.USAGE


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

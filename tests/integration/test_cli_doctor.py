"""`posthouse doctor` on a real house, well and sick."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
from cli_shell import Shell, Told, accept, new_job, on_a_terminal
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from simulator_house import Simulation, simulating

from posthouse.cli.exits import Exit
from posthouse.simulator.settings import SmtpAccount, SmtpSecurity
from posthouse.storage.db import Database, Session


@dataclass(frozen=True)
class Line:
    name: str
    state: str
    found: str
    todo: str


def checks(told: Told) -> dict[str, Line]:
    lines = msgspec.convert(told.json()["checks"], list[Line])
    return {line.name: line for line in lines}


async def test_a_house_that_is_well(shell: Shell, tmp_path: Path) -> None:
    async with simulating(tmp_path) as simulation:
        two_relays(shell, simulation)
        told = await shell.posthouse("doctor", "--audit")
        assert (told.code, told.json()["healthy"], told.json()["audited"]) == (Exit.OK, True, True)
        found = checks(told)
        assert {name for name, line in found.items() if line.state != "ok"} == {"keys"}
        assert [line.name for line in found.values() if line.state == "ok" and line.todo] == []
        assert "accepted, residual 0" in found["books"].found
        seen = await on_a_terminal(shell, "doctor")
        assert "The house is well." in seen
        assert "The books were not counted" in seen


async def test_what_is_wrong_is_named_with_what_to_do(
    shell: Shell, database: Database, tmp_path: Path
) -> None:
    async with simulating(tmp_path) as simulation:
        two_relays(shell, simulation)  # and gone
    async with database.session() as session:
        await accept(session, new_job(1), due="now() - interval '40 s'")
        await accept(session, new_job(2), "SENDING")
        await accept(session, new_job(3), "UNKNOWN")
        await session.script(f"""
            DELETE FROM email_event WHERE job_id = '{(await any_job(session))}';
            INSERT INTO dead_letter (source, reason, payload) VALUES ('inbox', 'noise', '');
            INSERT INTO relay_inbox (relay, account, headers, body, received_at)
            VALUES ('sendgrid', 'one', '{{}}', '', now() - interval '5 min');
            INSERT INTO worker VALUES ('{UUID(int=3)}', 'worker', 'marketing', 'here', 7, now(),
                                       now() - interval '1 min');
            DROP TABLE email_job_p{datetime.now(UTC) + timedelta(days=7):%Y%m%d}""")
    sick = await shell.posthouse("doctor", "--audit")
    assert (sick.code, sick.json()["healthy"]) == (Exit.FOUND, False)
    wrong = {name: line for name, line in checks(sick).items() if line.state != "ok"}
    assert {name: line.state for name, line in wrong.items()} == {
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
    assert [name for name, line in wrong.items() if not line.todo] == []
    assert "residual 1" in wrong["books"].found


async def any_job(session: Session) -> object:
    rows = await session.fetch("audited_jobs", UUID(int=0), 1)
    return rows[0][0]


async def test_a_relay_must_let_us_in_not_only_answer(shell: Shell, tmp_path: Path) -> None:
    secured = SmtpAccount(name="marketing", security=SmtpSecurity.STARTTLS)
    async with simulating(tmp_path, smtp=secured) as simulation:
        two_relays(shell, simulation, tls="starttls", api_key='api_key_env = "NO_SUCH_KEY"')
        found = checks(await shell.posthouse("doctor"))
    assert "certificate" in found["relay one"].found  # nobody we trust has signed it
    assert "NO_SUCH_KEY" in found["relay two"].found
    assert "[relays.two]" in found["relay two"].todo


async def test_names_that_nobody_can_own_are_only_a_warning(shell: Shell, tmp_path: Path) -> None:
    async with simulating(tmp_path) as simulation:
        two_relays(shell, simulation, simulator=False)
        told = await shell.posthouse("doctor")
    found = checks(told)
    assert found["from-domain shop.example"].state == "warning"
    assert found["tracking t.shop.example"].state == "warning"
    assert found["from-domain news.example"].state == "ok"  # its relay is a simulator
    assert told.code == Exit.OK


def two_relays(
    shell: Shell,
    simulation: Simulation,
    *,
    tls: str = "none",
    api_key: str = 'api_key_file = "sendgrid.key"',
    simulator: bool = True,
) -> None:
    """A configuration whose relays are those of the simulation."""
    (shell.folder / "sendgrid.key").write_text("SG.test")
    (shell.folder / "posthouse.toml").write_text(f"""
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
port = {simulation.port("marketing")}
tls = "{tls}"
simulator = {str(simulator).lower()}
[relays.two]
kind = "sendgrid"
base_url = "http://127.0.0.1:{simulation.port("transactional")}"
{api_key}
webhook_key = "{verification_key()}"
simulator = true
""")


def verification_key() -> str:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return base64.b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


async def test_the_doctor_says_what_keeps_it_from_looking(bare: Shell, empty_dsn: str) -> None:
    away = await bare.posthouse("doctor", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert (away.code, checks(away)["database"].state) == (Exit.FOUND, "failed")
    raw = await bare.posthouse("doctor", DATABASE_URL=empty_dsn)
    assert checks(raw)["migrations"].state == "failed"
    assert "posthouse migrate" in checks(raw)["migrations"].todo

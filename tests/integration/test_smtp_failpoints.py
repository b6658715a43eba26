"""A process that dies while it hands a mail over: the server has all of it or nothing."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

CLIENT = """
import asyncio, random, sys
from uuid import UUID
from posthouse.clock import SystemClock
from posthouse.domain.message import RawMail
from posthouse.relays.smtp import SmtpAccount, SmtpRelay, Tls

async def main():
    account = SmtpAccount("real", "127.0.0.1", int(sys.argv[1]), "us.example", tls=Tls.NONE)
    relay = SmtpRelay(account, clock=SystemClock(), rng=random.Random(1))
    data = b"Subject: hi\\r\\n\\r\\nhello\\r\\n"
    mails = [RawMail(UUID(int=n), 1, "", f"r{n}@example.org", data, False) for n in (1, 2)]
    print(await relay.send_many(mails, lambda: True))
    await relay.close()

asyncio.run(main())
"""


class Inbox:
    def __init__(self) -> None:
        self.taken: list[str] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.taken.extend(envelope.rcpt_tos)
        return "250 2.0.0 Ok: queued as 1"


async def run_client(port: int, environment: dict[str, str]) -> tuple[int, bytes]:
    client = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CLIENT,
        str(port),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        output, _ = await client.communicate()
    assert client.returncode is not None
    return client.returncode, output


@pytest.mark.parametrize(
    ("point", "taken"),
    [
        ("relay.smtp.mid_data=kill", []),
        ("relay.smtp.mid_data=kill:2", ["r1@example.org"]),
        ("relay.smtp.accepted=kill", ["r1@example.org"]),
        ("relay.smtp.accepted=kill:2", ["r1@example.org", "r2@example.org"]),
    ],
)
async def test_killed_on_the_way(tmp_path: Path, point: str, taken: list[str]) -> None:
    inbox, log = Inbox(), tmp_path / "failpoints.log"
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(inbox, hostname="mx.example.test"), "127.0.0.1", 0
    )
    async with server:
        environment = {"POSTHOUSE_FAILPOINTS": point, "POSTHOUSE_FAILPOINT_LOG": str(log)}
        code, output = await run_client(server.sockets[0].getsockname()[1], environment)
    assert code == -signal.SIGKILL, output
    assert log.read_text().split()[0] == point.partition("=")[0]
    assert inbox.taken == taken


async def test_nothing_dies_where_nothing_is_armed() -> None:
    inbox = Inbox()
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(inbox, hostname="mx.example.test"), "127.0.0.1", 0
    )
    async with server:
        code, output = await run_client(server.sockets[0].getsockname()[1], {"POSTHOUSE_FAILPOINTS": ""})
    assert code == 0
    assert output.count(b"Accepted(") == 2
    assert inbox.taken == ["r1@example.org", "r2@example.org"]

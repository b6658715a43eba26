"""The command line as a shell sees it: a call in this process or as one of its own, and what it answers."""

import asyncio
import io
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from posthouse.cli.main import main
from posthouse.domain.ids import day_of, uuid7
from posthouse.storage.db import Session


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
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
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

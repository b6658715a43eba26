"""`posthouse bounces read`: mailboxes of another mail server, into the house."""

import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from posthouse.bus.postgres import append_to_inbox
from posthouse.cli.call import call_of, progress, read_input, run
from posthouse.cli.reach import reached
from posthouse.clock import SystemClock
from posthouse.config import Settings
from posthouse.domain.return_path import attempts_in
from posthouse.inbound.letters import letter
from posthouse.inbound.maildir import SET, Maildir
from posthouse.inbound.mbox import mails_of
from posthouse.keyring import load_keyring
from posthouse.relays.base import RawCallback

_Keep = Callable[[Sequence[RawCallback]], Awaitable[None]]


class _Read(msgspec.Struct):
    """What was read. `ours`: mails in which a signed return path of this house stands."""

    mails: int = 0
    ours: int = 0


def read_mailboxes(
    context: typer.Context,
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Maildirs, mbox files, single mails; -: stdin.")
    ],
) -> None:
    """Take bounce mails into the house, as the inbound role does; the processor records what they say.

    Mails of a Maildir move from new to cur; files stay as they are. Reading one twice changes nothing.
    """
    call = call_of(context)
    read = run(_read_all(call.settings(), paths))
    call.answer(read, Text(f"{read.mails} mails read, {read.ours} of them about mail of this house"))


async def _read_all(settings: Settings, paths: Sequence[str]) -> _Read:
    """Raises InvalidInput for a path that cannot be read, NotNow, Misconfigured."""
    key = load_keyring(settings.data_dir, os.environ).return_paths
    done = _Read()
    async with reached(settings) as db:
        with progress("reading", None) as moved:

            async def keep(letters: Sequence[RawCallback]) -> None:
                await append_to_inbox(db, letters)
                done.mails += len(letters)
                done.ours += sum(bool(attempts_in(one.body, key)) for one in letters)
                moved(len(letters))

            for path in paths:
                await _read_one(path, settings.inbound.max_message_bytes, keep)
    return done


async def _read_one(path: str, max_bytes: int, keep: _Keep) -> None:
    clock = SystemClock()
    maildir = _maildir_at(path, max_bytes)
    if maildir is not None:
        await maildir.read(keep, clock)
        return
    mails = _mails_in(path, max_bytes)
    while letters := [letter(mail, "", clock.now()) for mail in islice(mails, SET)]:
        await keep(letters)


def _maildir_at(path: str, max_bytes: int) -> Maildir | None:
    """None for a file. Raises Misconfigured for a folder that is no Maildir."""
    return Maildir(Path(path), max_bytes) if Path(path).is_dir() else None


def _mails_in(path: str, max_bytes: int) -> Iterator[bytes]:
    """An mbox file begins with "From " and no colon; anything else is one mail."""
    if path != "-" and Path(path).is_file():
        with Path(path).open("rb") as file:
            if file.read(5) == b"From ":
                return mails_of(Path(path), max_bytes)
    return iter([read_input(path)[:max_bytes]])

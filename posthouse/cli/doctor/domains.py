"""Whether the names that mail comes from and links lead to are known to DNS. Never more than a warning: this
machine's resolver may see another world than the recipients' do.

The standard library resolves addresses only. MX, SPF, DKIM and DMARC records are not asked for.
"""

import asyncio
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from posthouse.cli.doctor.check import Check, ok, warning
from posthouse.config import Settings
from posthouse.domain.address import is_reserved

_WITHIN: Final = 3.0  # seconds


@dataclass(frozen=True, slots=True)
class Name:
    """A name in DNS and what for. Only what readers' browsers go to must have an address of its own."""

    check: str
    host: str
    simulated: bool
    needs_address: bool


async def domain_checks(settings: Settings) -> list[Check]:
    return await asyncio.gather(*map(_check, _names(settings)))


def _names(settings: Settings) -> Iterator[Name]:
    for stream in settings.streams.values():
        simulated = all(settings.relay(account).simulator for account in stream.relays)
        for domain in stream.from_domains:
            yield Name(f"from-domain {domain}", domain, simulated, needs_address=False)
        host = urlsplit(stream.tracking_url).hostname or ""
        yield Name(f"tracking {host}", host, simulated, needs_address=True)


async def _check(name: Name) -> Check:
    if name.simulated:
        return ok(name.check, "only mails simulated people: not looked up")
    if is_reserved(name.host):
        return warning(name.check, "a reserved name that nobody can own", "Put your own domain in its place.")
    return judged(name, await _look_up(name.host))


def judged(name: Name, code: int | None) -> Check:
    """What the resolver's answer means for what the name is for."""
    if code is None:
        return ok(name.check, "has an address in DNS")
    if code == socket.EAI_NODATA and not name.needs_address:
        return ok(name.check, "is in DNS, without an address of its own")
    if code in (socket.EAI_NONAME, socket.EAI_NODATA):
        lacking = "address" if name.needs_address else "entry"
        return warning(name.check, f"has no {lacking} in DNS", "Is it spelled right, and its zone published?")
    return warning(name.check, "the resolver does not answer", "Look at this machine's DNS.")


async def _look_up(host: str) -> int | None:
    """None: it has an address; else the code of `socket.EAI_*`.

    On a thread that nobody waits for at the end: a resolver may be silent for half a minute.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[int | None] = loop.create_future()
    threading.Thread(target=_resolve, args=(host, loop, answer), daemon=True).start()
    try:
        async with asyncio.timeout(_WITHIN):
            return await answer
    except TimeoutError:
        return socket.EAI_AGAIN


def _resolve(host: str, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[int | None]) -> None:
    code: int | None = None
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror as error:
        code = error.errno
    except UnicodeError:  # no host name at all
        code = socket.EAI_NONAME
    if not loop.is_closed():
        loop.call_soon_threadsafe(_give, answer, code)


def _give(answer: asyncio.Future[int | None], code: int | None) -> None:
    if not answer.done():  # nobody waits any more
        answer.set_result(code)

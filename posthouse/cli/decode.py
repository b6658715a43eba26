"""`posthouse webhooks decode`: what a relay's callback says, in our words, whoever has the payload."""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
import typer

from posthouse.app.adapters import vendor_account
from posthouse.app.kinds import KINDS
from posthouse.cli.call import Call, call_of, read_input, run
from posthouse.clock import Clock, SystemClock
from posthouse.config import Settings, file_of
from posthouse.domain.errors import InvalidInput, Misconfigured, NotFound, NotNow
from posthouse.domain.event import BounceClass, Event, EventType
from posthouse.domain.ids import EventId, JobId, RelayAccount
from posthouse.domain.suppression import SuppressionReason
from posthouse.ingest.normalize import Normalized, Refused, normalize
from posthouse.relays.base import CallbackReader, Handshaker, RawCallback, Unplaced


class Proof(StrEnum):
    """Whether the payload is the relay's, as far as that was looked at."""

    VERIFIED = "verified"
    FAILED = "failed"
    NOT_CHECKED = "not_checked"


@dataclass(frozen=True, slots=True)
class Line:
    """One event. Without `job_id` it names no mail of ours."""

    relay: str
    account: RelayAccount | None
    verification: Proof
    type: EventType
    bounce: BounceClass | None
    recipient: str | None
    job_id: JobId | None = None
    attempt: int | None = None
    event_id: EventId | None = None
    occurred_at: datetime | None = None
    reason: str = ""
    smtp_code: int | None = None
    enhanced_code: str | None = None
    diagnostic: str = ""
    provider_message_id: str | None = None
    url: str | None = None
    user_agent: str | None = None
    machine: bool = False
    mirrored: SuppressionReason | None = None


@dataclass(frozen=True, slots=True)
class _Whose:
    """A kind of relay, and the account, if one was meant. `reader` can verify only with an account."""

    kind: str
    account: RelayAccount | None
    reader: CallbackReader


def decode(
    context: typer.Context,
    payload: Annotated[
        str, typer.Argument(metavar="FILE", help='The body of a callback, as it came; "-" for stdin.')
    ],
    relay: Annotated[
        str,
        typer.Option(help="A kind of relay (postmark, sendgrid ...), or the name of a configured account."),
    ],
    headers: Annotated[
        str | None,
        typer.Option(help="File with the headers of the callback, one `Name: value` on a line; verifies it."),
    ] = None,
) -> None:
    """Print what a relay's callback says, one line of JSON for each event.

    Works without database and configuration. With --headers and a configured account it also says whether
    the callback is genuine."""
    call = call_of(context)
    clock = SystemClock()
    body = read_input(payload)
    given = None if headers is None else read_headers(read_input(headers))
    whose = _whose(relay, _settings(call, relay), clock)
    proof = Proof.NOT_CHECKED if given is None else run(_proof(whose, body, given))
    callback = RawCallback(whose.kind, whose.reader.account, given or {}, body)
    for line in _lines(normalize(callback, whose.reader), whose, proof):
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")


def read_headers(raw: bytes) -> dict[str, str]:
    """Header lines as of HTTP or of `curl -D`; names in lower case. Raises InvalidInput."""
    found: dict[str, str] = {}
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1):
        name, colon, value = line.partition(":")
        if not line.strip() or (number == 1 and " HTTP/" in line):
            continue
        if not colon or not name.strip() or " " in name.strip():
            raise InvalidInput(f"Line {number} of the headers is not `Name: value`.")
        found[name.strip().lower()] = value.strip()
    return found


def _settings(call: Call, relay: str) -> Settings | None:
    """Of a configuration that was given or lies here; the built-in one has nobody's accounts. Raises
    Misconfigured, but not where the kind is enough."""
    if call.config is None and not file_of(call.config, os.environ).is_file():
        return None
    try:
        return call.settings()
    except Misconfigured:
        if relay in KINDS and call.config is None:
            return None
        raise


def _whose(relay: str, settings: Settings | None, clock: Clock) -> _Whose:
    """Raises NotFound, InvalidInput, Misconfigured."""
    name = RelayAccount(relay)
    if settings is not None and name in settings.relays:
        vendor = vendor_account(name, settings)
        reader = vendor.reader(clock)
        if reader is None:
            raise InvalidInput(f"{relay} is of kind {vendor.kind}, which calls nobody back.")
        return _Whose(vendor.kind, name, reader)
    kind = KINDS.get(relay)
    if kind is None:
        raise NotFound(
            f"There is no kind of relay and no account {relay!r}: the kinds are {', '.join(KINDS)}."
        )
    if kind.reader is None:
        raise InvalidInput(f"A relay of kind {relay} calls nobody back.")
    return _Whose(relay, None, kind.reader(name, clock))


async def _proof(whose: _Whose, body: bytes, headers: Mapping[str, str]) -> Proof:
    if whose.account is None:
        return Proof.NOT_CHECKED
    callback = RawCallback(whose.kind, whose.account, headers, body)
    reader = whose.reader
    if isinstance(reader, Handshaker):
        try:
            await reader.prepare(callback)
        except NotNow:
            return Proof.NOT_CHECKED
        finally:
            await reader.close()
    return Proof.VERIFIED if reader.verify(callback) else Proof.FAILED


def _lines(said: Normalized | Refused, whose: _Whose, proof: Proof) -> Iterator[Line]:
    """Raises InvalidInput."""
    if isinstance(said, Refused):
        raise InvalidInput(f"This is no callback of {whose.kind}: {said.reason}.")
    for event in said.events:
        yield _placed(event, whose, proof)
    for stray in said.unplaced:
        yield _stray(stray, whose, proof)


def _placed(event: Event, whose: _Whose, proof: Proof) -> Line:
    return Line(
        relay=whose.kind,
        account=whose.account,
        verification=proof,
        type=event.type,
        bounce=event.bounce,
        recipient=event.recipient,
        job_id=event.job_id,
        attempt=event.attempt,
        event_id=event.event_id,
        occurred_at=event.occurred_at,
        reason=event.reason,
        smtp_code=event.smtp_code,
        enhanced_code=event.enhanced_code,
        diagnostic=event.diagnostic,
        provider_message_id=event.provider_message_id,
        url=event.url,
        user_agent=event.user_agent,
        machine=event.machine,
        mirrored=event.mirrored,
    )


def _stray(stray: Unplaced, whose: _Whose, proof: Proof) -> Line:
    return Line(whose.kind, whose.account, proof, stray.type, stray.bounce, stray.recipient)

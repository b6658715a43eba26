"""What readers of relays' callbacks share: an event as JSON that anybody may have written, taken apart."""

import json
import re
from datetime import UTC, datetime
from typing import TypeAlias
from uuid import UUID

import msgspec

from posthouse.domain.ids import JobId, unix_ms_of
from posthouse.relays.http import clean

#: The names our ids travel under, in a relay's custom arguments, variables, tags or metadata.
JOB_KEY = "posthouse_job"
ATTEMPT_KEY = "posthouse_attempt"

Entry: TypeAlias = dict[str, object]

_ENTRY = msgspec.json.Decoder(Entry)
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_ATTEMPT = re.compile(r"[1-9][0-9]{0,4}")
_REPLY_CODE = re.compile(r"([245][0-9]{2})(?:[ -]|$)")
_ENHANCED_CODE = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")


def lenient_json(text: bytes) -> object:
    """JSON as Python's own reader takes it, with half surrogate pairs and numbers of any size; None for what
    it does not take."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value


def fields(raw: bytes) -> Entry | None:
    """The fields of a JSON object; None when it is none."""
    try:
        return _ENTRY.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        entry = lenient_json(raw)
        return entry if isinstance(entry, dict) else None


def text(entry: Entry, name: str, limit: int = 1000) -> str:
    """A text as it may be stored; "" when there is none."""
    value = entry.get(name)
    return clean(value, limit) if isinstance(value, str) else ""


def inner(entry: Entry, name: str) -> Entry:
    """An object within an entry; empty when there is none."""
    value = entry.get(name)
    return value if isinstance(value, dict) else {}


def job_of(entry: Entry) -> JobId | None:
    """Our job's id, where an entry carries it."""
    found = text(entry, JOB_KEY, 100)
    return JobId(UUID(found)) if _UUID7.fullmatch(found) else None


def attempt_of(entry: Entry) -> int | None:
    """Our attempt's number, where an entry carries it."""
    found = text(entry, ATTEMPT_KEY, 100)
    return int(found) if _ATTEMPT.fullmatch(found) else None


def smtp_code(reply: str) -> int | None:
    """The code that a server's reply begins with."""
    match = _REPLY_CODE.match(reply)
    return int(match[1]) if match else None


def enhanced_code(status: str) -> str | None:
    """A status that is an enhanced code (RFC 3463) and nothing else."""
    return status if _ENHANCED_CODE.fullmatch(status) else None


def plausible(said: datetime, job_id: JobId, now: datetime) -> datetime:
    """When an event happened: as the relay says, but never before its job was made and never ahead of us."""
    made = min(unix_ms_of(job_id) / 1000, now.timestamp())  # a forged id can name the year 10889
    return max(min(said, now), datetime.fromtimestamp(made, UTC))

"""The files an audit reads: one JSON line per 2xx of a client, one per mail of the far end.

Both are written by programs that get killed, so a line without its end is a line that was never written; any
other line that cannot be read is an error, because an audit that guesses proves nothing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import UUID

import msgspec

from posthouse.domain.errors import InvalidInput, NotFound
from posthouse.status.audit import Arrivals, Key, Promises

LINE_LIMIT = 1_000_000  # bytes
_TRUNCATED = "Input data was truncated"  # msgspec's word for the beginning of something

L = TypeVar("L")


class _Recipient(msgspec.Struct):
    id: UUID


class _PromiseLine(msgspec.Struct):
    id: UUID
    recipients: list[_Recipient]
    key: str | None = None


class _SinkLine(msgspec.Struct):
    n: int
    job_id: str | None = None
    attempt: int | None = None
    message_id: str = ""


def read_promises(path: Path) -> Promises:
    """The client's ledger. Raises NotFound, or InvalidInput naming file and line."""
    recipients: set[Key] = set()
    answered: dict[str, Key] = {}
    twice: list[str] = []
    answers = 0
    for line in _lines(path, _PromiseLine):
        answers += 1
        recipients.update(recipient.id.bytes for recipient in line.recipients)
        if line.key is not None and answered.setdefault(line.key, line.id.bytes) != line.id.bytes:
            twice.append(line.key)
    return Promises(frozenset(recipients), answers, tuple(twice))


def read_arrivals(path: Path) -> Arrivals:
    """The far end's ledger: what it took, whatever became of it then. Raises as read_promises does."""
    attempts: dict[Key, list[int]] = {}
    unreadable: list[str] = []
    mails = 0
    for line in _lines(path, _SinkLine):
        mails += 1
        key = _key(line.job_id)
        if key is None:
            unreadable.append(f"mail {line.n} ({line.message_id or 'no Message-ID'})")
        else:
            attempts.setdefault(key, []).append(line.attempt or 0)
    return Arrivals(attempts, mails, tuple(unreadable))


def _key(text: str | None) -> Key | None:
    try:
        return None if text is None else UUID(text).bytes
    except ValueError:
        return None


def _lines(path: Path, kind: type[L]) -> Iterator[L]:
    decode = msgspec.json.Decoder(kind).decode
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_capped(file, path), start=1):
                try:
                    yield decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    if not _is_torn(line, error):
                        raise InvalidInput(f"{path}, line {number}: {error}.") from error
    except OSError as error:
        raise NotFound(f"The ledger {path} cannot be read: {error.strerror}.") from error


def _is_torn(line: bytes, error: Exception) -> bool:
    """A beginning only. Its writer, started again, may have ended the line before it went on."""
    return bool(line.strip()) and _TRUNCATED in str(error)


def _capped(file: BinaryIO, path: Path) -> Iterator[bytes]:
    while line := file.readline(LINE_LIMIT):
        if len(line) == LINE_LIMIT and not line.endswith(b"\n"):
            raise InvalidInput(f"{path} has a line of more than {LINE_LIMIT} bytes: it is not a ledger.")
        yield line

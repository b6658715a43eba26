"""The bytes of posted files are stored before the mails that they go with.

A file is told by its digest and belongs to no mail, so it needs no place in the transaction that accepts:
there it would hold up every small mail of the same group. What is stored for a mail that is then not accepted
goes with its day.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from posthouse.domain.ids import AttachmentId, attachment_id
from posthouse.domain.message import StoredFile
from posthouse.intake.mail import NewFile, NewMail
from posthouse.intake.rows import Moment, keyed_digest
from posthouse.intake.submission import Entry, Submission
from posthouse.storage import attachments
from posthouse.storage.db import Database

#: Bytes stored by one statement, unless one file has more.
_STATEMENT_BYTES: Final = 4_000_000
#: Requests whose files are written at one time. The other connections are for those without.
_WRITERS: Final = 2


class FileStore:
    """`content_key` keys the digests by which equal files meet; `now_ms` reads the database's clock."""

    def __init__(self, database: Database, content_key: bytes, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._content_key = content_key
        self._now_ms = now_ms
        self._writers = asyncio.Semaphore(_WRITERS)

    async def stored(self, submission: Submission) -> Submission:
        """The same request, whose files are stored: each once, whatever number of mails it goes with.
        Raises NotNow."""
        if not any(entry.mail.files for entry in submission.entries):
            return submission
        day = Moment(self._now_ms()).day
        bytes_of: dict[AttachmentId, bytes] = {}
        entries: list[Entry] = []
        for entry in submission.entries:
            stored: list[StoredFile] = []
            for file in entry.mail.files:
                file_id = attachment_id(day, keyed_digest(self._content_key, file.content))
                bytes_of[file_id] = file.content
                stored.append(_as_stored(file, file_id))
            entries.append(msgspec.structs.replace(entry, mail=_with_stored(entry.mail, stored)))
        async with self._writers:
            await self._write(bytes_of)
        return Submission(submission.api_key_id, tuple(entries), submission.idempotency, submission.answer)

    async def _write(self, files: Mapping[AttachmentId, bytes]) -> None:
        async with self._database.session() as session:
            known = await attachments.known(session, files)
            for part in _parts({key: data for key, data in files.items() if key not in known}):
                await attachments.insert(session, part)


def _parts(files: Mapping[AttachmentId, bytes]) -> Iterator[dict[AttachmentId, bytes]]:
    part: dict[AttachmentId, bytes] = {}
    size = 0
    for file_id, content in files.items():
        if part and size + len(content) > _STATEMENT_BYTES:
            yield part
            part, size = {}, 0
        part[file_id] = content
        size += len(content)
    if part:
        yield part


def _as_stored(file: NewFile, file_id: AttachmentId) -> StoredFile:
    return StoredFile(
        file.filename, file.content_type, file_id, len(file.content), file.content_id, file.disposition
    )


def _with_stored(mail: NewMail, stored: Sequence[StoredFile]) -> NewMail:
    return msgspec.structs.replace(mail, files=(), stored_files=tuple(stored))

"""The bytes of files that go with mails, each once a day by keyed digest. SQL in queries/attachments.sql."""

from collections.abc import Collection, Mapping
from uuid import UUID

from posthouse.domain.ids import AttachmentId
from posthouse.storage.db import Session


async def known(session: Session, ids: Collection[AttachmentId]) -> set[AttachmentId]:
    """Those that are stored: their bytes need not be sent again."""
    wanted = sorted(ids)
    found = await session.column(UUID, "known_attachments", wanted, wanted[0], wanted[-1])
    return {AttachmentId(one) for one in found}


async def insert(session: Session, files: Mapping[AttachmentId, bytes]) -> None:
    """The caller bounds how many bytes go in one statement."""
    ids = sorted(files)
    await session.execute("insert_attachments", ids, [files[file_id] for file_id in ids])


async def load(session: Session, ids: Collection[AttachmentId]) -> dict[AttachmentId, bytes]:
    """Those that are there; the caller bounds how many bytes are asked for."""
    wanted = sorted(ids)
    rows = await session.fetch_into(_pair, "load_attachments", wanted, wanted[0], wanted[-1])
    return dict(rows)


def _pair(attachment_id: UUID, content: bytes) -> tuple[AttachmentId, bytes]:
    return AttachmentId(attachment_id), content

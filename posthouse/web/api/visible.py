"""Which mail a key sees: what it could have sent. For the rest it is told that there is no such mail."""

from uuid import UUID

from posthouse.domain.address import domain_of, parse_mailbox
from posthouse.domain.errors import NotFound
from posthouse.storage import timeline
from posthouse.storage.db import Database
from posthouse.storage.keys import ApiKey
from posthouse.storage.timeline import JobRecord


def may_see(key: ApiKey, *, stream: str, from_address: str, sandbox: bool) -> bool:
    """Sandboxed mail is for test keys, all other mail for live ones."""
    if key.sandbox != sandbox:
        return False
    if key.stream is not None and key.stream != stream:
        return False
    return not key.from_domains or domain_of(parse_mailbox(from_address)) in key.from_domains


async def visible_jobs(db: Database, key: ApiKey, email_id: str) -> tuple[JobRecord, ...]:
    """The recipients of a message, or the one whose id it is. Raises NotFound, NotNow."""
    jobs = await timeline.find_jobs(db, _uuid(email_id))
    if not jobs:
        raise _not_found()
    first = jobs[0]
    if not may_see(key, stream=first.stream, from_address=first.from_address, sandbox=first.sandbox):
        raise _not_found()
    return jobs


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise _not_found() from None


def _not_found() -> NotFound:
    return NotFound("There is no mail with this id.")

"""Links by their keyed hash, in partitions of a month. SQL in queries/links.sql.

A link is stored before the mail that carries it is handed over, so a reader never holds one that is not here.
URLs are secrets: a password reset is nothing but its link.
"""

from collections.abc import Mapping
from datetime import date
from typing import Final

from posthouse.domain.ids import JobId, LinkHash, day_of
from posthouse.storage.db import Database, Session

#: A job is sent at most 30 + 7 + 7 days after its id was made: within its own month or the two after it.
_MONTHS: Final = 3


async def store(session: Database | Session, links: Mapping[LinkHash, str], today: date) -> int:
    """Store the links of mails that are sent today; how many were new to this month. Raises NotNow."""
    if not links:
        return 0
    hashes = sorted(links)
    return await session.execute("store_links", hashes, [links[h] for h in hashes], today.replace(day=1))


async def find(session: Database | Session, link_hash: LinkHash, job_id: JobId) -> str | None:
    """The URL behind a link of a job's mail; None when the job cannot have had it. Raises NotNow."""
    return await session.fetch_one(str, "find_link", link_hash, months_of(day_of(job_id)))


def months_of(day: date) -> list[date]:
    """First days of the months in which a job accepted on `day` can be sent; those that a date can hold."""
    first = day.year * 12 + day.month - 1
    last = date.max.year * 12 + 11
    return [date(month // 12, month % 12 + 1, 1) for month in range(first, min(first + _MONTHS, last + 1))]

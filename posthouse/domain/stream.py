"""The two streams of mail."""

from enum import StrEnum


class Stream(StrEnum):
    """The two kinds of mail, which share no queue, worker, domain, IP or relay account."""

    TRANSACTIONAL = "transactional"
    MARKETING = "marketing"

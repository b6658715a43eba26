"""One account at Postmark: a server's token, and one of its message streams."""

import re
from dataclasses import dataclass, field

from yarl import URL

from posthouse.domain.errors import Misconfigured
from posthouse.domain.ids import RelayAccount
from posthouse.relays.postmark.request import MAX_BATCH

_PRINTABLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PostmarkAccount:
    """How to send by one server of an account. `slot_wait` (seconds): how long a claimed mail may wait for a
    free slot."""

    account: RelayAccount
    server_token: str = field(repr=False)
    message_stream: str = "outbound"
    base_url: str = "https://api.postmarkapp.com"
    max_batch: int = MAX_BATCH
    max_concurrency: int = 64
    slot_wait: float = 1.0

    def __post_init__(self) -> None:
        if not _PRINTABLE.fullmatch(self.server_token):
            raise Misconfigured(
                f"relays.{self.account}: the server token is missing or is not printable ASCII."
            )
        if not 1 <= self.max_batch <= MAX_BATCH:
            raise Misconfigured(f"relays.{self.account}: a batch has 1 to {MAX_BATCH} mails.")


def base_url(settings: PostmarkAccount) -> URL:
    """Raises Misconfigured."""
    try:
        url = URL(settings.base_url)
    except ValueError as error:
        raise Misconfigured(f"relays.{settings.account}: base_url is not a URL: {error}.") from error
    if url.scheme not in ("http", "https") or not url.host or url.user or url.query_string or url.fragment:
        raise Misconfigured(f"relays.{settings.account}: base_url must be like https://api.postmarkapp.com.")
    return url


def headers(settings: PostmarkAccount) -> dict[str, str]:
    """What every request to Postmark has."""
    return {
        "X-Postmark-Server-Token": settings.server_token,
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": "posthouse",
    }

"""What one key may give to another, or to an endpoint: never more than it has itself."""

from collections.abc import Sequence

from posthouse.domain.address import parse_domain
from posthouse.domain.errors import Forbidden, InvalidAddress
from posthouse.domain.stream import Stream
from posthouse.storage.keys import ApiKey


def stream_within(asked: Stream | None, giver: ApiKey) -> Stream | None:
    """None: both. What is not asked for is as it is for the giver. Raises Forbidden."""
    if asked is None or giver.stream is None or asked is giver.stream:
        return asked or giver.stream
    raise more_than_the_giver(f"the stream {asked}", "/stream")


def domains_within(asked: Sequence[str], giver: ApiKey) -> frozenset[str]:
    """Empty: all. Raises InvalidAddress, Forbidden."""
    domains = frozenset(_domain(text, f"/from_domains/{i}") for i, text in enumerate(asked))
    if not giver.from_domains or domains <= giver.from_domains:
        return domains or giver.from_domains
    raise more_than_the_giver(f"the domain {min(domains - giver.from_domains)}", "/from_domains")


def more_than_the_giver(what: str, pointer: str) -> Forbidden:
    return Forbidden(
        f"A key cannot give more than it may do itself, and this one does not have {what}. Ask with a key "
        "that has it.",
        code="more_than_this_key",
        pointer=pointer,
    )


def _domain(text: str, pointer: str) -> str:
    try:
        return parse_domain(text)
    except InvalidAddress as error:
        raise InvalidAddress(error.message, pointer=pointer) from error

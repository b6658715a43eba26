"""The sandbox's addresses: what is to become of a test key's mail is read off its recipient.

`bounced+order-17@sandbox.invalid` bounces; the label after the plus sign keeps one test's address, and its
suppression, apart from another's. `.invalid` is nobody's (RFC 2606), so such mail could go nowhere else.
"""

from enum import StrEnum
from typing import Final

from posthouse.domain.ids import RelayAccount

SANDBOX_DOMAIN: Final = "sandbox.invalid"
#: What timelines name as the relay. No [relays.*] table may have this name.
SANDBOX_ACCOUNT: Final = RelayAccount("sandbox")


class Ending(StrEnum):
    """The local parts that mean something, before any label."""

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    SOFT_BOUNCED = "soft-bounced"
    DEFERRED = "deferred"
    COMPLAINED = "complained"
    OPENED = "opened"
    CLICKED = "clicked"
    REJECTED = "rejected"
    SUPPRESSED = "suppressed"


def ending_of(address: str) -> Ending:
    """What becomes of a sandboxed mail to this address, as `parse_mailbox` gives it.

    Every address that is not the sandbox's own is delivered to: nothing that a test does may bounce, and so
    suppress, the address of a person.
    """
    local, _, domain = address.rpartition("@")
    if domain.lower() != SANDBOX_DOMAIN:
        return Ending.DELIVERED
    try:
        return Ending(local.partition("+")[0].lower())
    except ValueError:
        return Ending.DELIVERED

"""Who may be written to here: signed return paths, the addresses of feedback loops, postmaster. Nobody else.

Anybody can send mail to a bounce domain. A return path that we did not sign is refused at RCPT TO, so that a
forged report is not even read, and who tries addresses learns that there is nothing. We relay for nobody.
"""

from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

from posthouse.domain.return_path import read_return_path

#: RFC 5321 section 4.5.1: every domain that takes mail takes it for its postmaster; RFC 2142: and for abuse.
_ROLES: Final = frozenset({"postmaster", "abuse"})


class Addressee(Enum):
    RETURN_PATH = auto()  # signed by us
    FEEDBACK = auto()  # a mailbox provider's reports come to it
    ROLE = auto()  # postmaster, abuse
    NOBODY = auto()


class Desk:
    """Knows the house's addresses for mail that comes back."""

    def __init__(self, domains: Iterable[str], feedback: Iterable[str], key: bytes) -> None:
        """`domains`: the streams' bounce domains. `feedback`: whole addresses, as named to feedback loops."""
        self._domains = frozenset(domain.lower() for domain in domains)
        self._feedback = frozenset(address.lower() for address in feedback)
        self._key = key

    def addressee(self, address: str) -> Addressee:
        """Who an envelope recipient is."""
        if address.lower() in self._feedback:
            return Addressee.FEEDBACK
        local, _, domain = address.rpartition("@")
        if domain.lower() not in self._domains:
            return Addressee.NOBODY
        if local.lower() in _ROLES:
            return Addressee.ROLE
        return Addressee.NOBODY if read_return_path(address, self._key) is None else Addressee.RETURN_PATH

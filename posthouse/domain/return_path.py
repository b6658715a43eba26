"""Variable envelope return paths (VERP): a bounce comes back to an address that names its attempt.

The local part is `b+` and 56 hexadecimal digits: job id, attempt, MAC. Hexadecimal, because receivers may
fold case; signed, because anybody can send mail to a bounce address; under the 64 octets of RFC 5321 section
4.5.3.1.1.
"""

import hmac
import re
from hashlib import blake2b
from typing import Final
from uuid import UUID

from posthouse.domain.ids import JobId
from posthouse.domain.job import Held

_PREFIX: Final = "b+"
_ATTEMPT_BYTES: Final = 2
_MAX_ATTEMPT: Final = (1 << 8 * _ATTEMPT_BYTES) - 1
_MAC_BYTES: Final = 10
_SIGNED: Final = re.compile(rb"b\+[0-9a-f]{56}(?=@)", re.IGNORECASE)
#: A return path stands in the headers of a report, or of the mail that it returns; never behind megabytes.
_LOOKED_AT: Final = 256 * 1024
#: A mail that names more of our mails than this is no report about one.
_NAMED: Final = 20
_LOCAL_PART = re.compile(r"b\+([0-9a-f]{56})", re.IGNORECASE)


def return_path(held: Held, domain: str, key: bytes) -> str:
    """The envelope sender of one attempt. `key` is at most 64 bytes. An attempt past 65535 is named so."""
    named = held.job_id.bytes + min(held.attempt, _MAX_ATTEMPT).to_bytes(_ATTEMPT_BYTES, "big")
    return f"{_PREFIX}{(named + _mac(named, key)).hex()}@{domain}"


def read_return_path(address: str, key: bytes) -> Held | None:
    """The attempt that a bounce address names; None when it is not one that we signed."""
    match = _LOCAL_PART.fullmatch(address.partition("@")[0])
    if match is None:
        return None
    token = bytes.fromhex(match[1])
    named, mac = token[:-_MAC_BYTES], token[-_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(named, key)):
        return None
    job_id = JobId(UUID(bytes=named[:-_ATTEMPT_BYTES]))
    return Held(job_id, int.from_bytes(named[-_ATTEMPT_BYTES:], "big"))


def attempts_in(mail: bytes, key: bytes) -> list[Held]:
    """The attempts whose signed return paths stand in a mail, each once, in order; [] when they are too many.
    Who writes one had our mail or a report about it: nobody can make one up."""
    found: dict[Held, None] = {}
    for match in _SIGNED.finditer(mail, 0, _LOOKED_AT):
        held = read_return_path(match[0].decode("ascii"), key)
        if held is not None:
            found[held] = None
        if len(found) > _NAMED:
            return []
    return list(found)


def _mac(named: bytes, key: bytes) -> bytes:
    return blake2b(named, digest_size=_MAC_BYTES, key=key, person=b"ph-return-path").digest()

"""The certificates that SNS signs with: fetched from the one address that may hold them, checked, remembered.

Who may make us fetch, and how often, is the point here: anybody can post to a webhook. A fetch happens only
for a message of an allowed topic, timely and in form, that names a file of the pinned form at the pinned
address; each file is fetched once, and only a few in a minute.

SNS serves the certificate alone, without the authority's that issued it, so no chain can be built from it.
What proves it is the TLS connection to SNS's own address, over which it came.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from posthouse.clock import Clock
from posthouse.domain.errors import NotNow

#: Bytes of a certificate file, or None when there was no answer worth keeping. Never raises.
Fetch: TypeAlias = Callable[[str], Awaitable[bytes | None]]

_GOOD_REMEMBERED: Final = 16
_BAD_REMEMBERED: Final = 64
#: SNS changes its certificate about once a year.
FETCHES_PER_MINUTE: Final = 4
_LEAST_BITS: Final = 2048
#: How long a file that was no certificate of SNS's, or was not there, is not asked for again.
_FORGET_BAD: Final = 600.0  # seconds


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate whose name and key are right. Its days are checked at each use."""

    key: RSAPublicKey
    not_before: datetime
    not_after: datetime

    def signed(self, signature: bytes, data: bytes, version: str, now: datetime) -> bool:
        """Whether it signed these bytes, and is valid now. Version 1 is SHA-1, which SNS still signs with
        unless its topic says otherwise; a forger would need a second preimage."""
        if not self.not_before <= now <= self.not_after:
            return False
        digest = SHA1() if version == "1" else SHA256()  # noqa: S303
        try:
            self.key.verify(signature, data, PKCS1v15(), digest)
        except (InvalidSignature, UnsupportedAlgorithm):  # a machine may be set up to know no SHA-1
            return False
        return True


def read_certificate(pem: bytes, names: frozenset[str]) -> Certificate | None:
    """None for what is no certificate by one of these names with an RSA key that is long enough."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        named = set(alternative.value.get_values_for_type(x509.DNSName))
        key = certificate.public_key()
    except (ValueError, TypeError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return None
    if not named & names or not isinstance(key, RSAPublicKey) or key.key_size < _LEAST_BITS:
        return None
    return Certificate(key, certificate.not_valid_before_utc, certificate.not_valid_after_utc)


class Certificates:
    """By URL. Bounded; the oldest are forgotten first, and no bad one makes a good one be forgotten."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._good: OrderedDict[str, Certificate] = OrderedDict()
        self._bad_until: OrderedDict[str, float] = OrderedDict()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._fetched_at: list[float] = []

    def find(self, url: str) -> Certificate | None:
        return self._good.get(url)

    async def want(self, url: str, names: frozenset[str]) -> None:
        """Have the certificate at hand, or know that there is none. Raises NotNow while that cannot be
        told: SNS repeats what is answered with a 503, and nothing else."""
        if self._is_known(url):
            return
        task = self._under_way.get(url)
        if task is None:
            self._spend()
            task = asyncio.create_task(self._learn(url, names))
            self._under_way[url] = task
            task.add_done_callback(lambda _: self._under_way.pop(url, None))
        await asyncio.shield(task)
        if not self._is_known(url):
            raise NotNow("The certificate that SNS names cannot be fetched.", retry_after=20.0)

    async def close(self) -> None:
        for task in list(self._under_way.values()):
            task.cancel()

    def _is_known(self, url: str) -> bool:
        return url in self._good or self._bad_until.get(url, 0.0) > self._clock.monotonic()

    def _spend(self) -> None:
        now = self._clock.monotonic()
        self._fetched_at = [at for at in self._fetched_at if now - at < 60.0]
        if len(self._fetched_at) >= FETCHES_PER_MINUTE:
            raise NotNow("Too many certificates were asked for in a minute.", retry_after=60.0)
        self._fetched_at.append(now)

    async def _learn(self, url: str, names: frozenset[str]) -> None:
        pem = await self._fetch(url)
        if pem is None:
            return
        found = read_certificate(pem, names)
        if found is None:
            self._bad_until[url] = self._clock.monotonic() + _FORGET_BAD
        else:
            self._good[url] = found
        while len(self._good) > _GOOD_REMEMBERED:
            self._good.popitem(last=False)
        while len(self._bad_until) > _BAD_REMEMBERED:
            self._bad_until.popitem(last=False)

"""The egress guard: Posthouse opens no connection to an address that is not public, unless it is told to.

Names are resolved once, the answers are checked, and the connection goes to a checked address: there is no
second look-up that could answer otherwise (DNS rebinding). The socket is checked again when it is opened,
since an address literal is never resolved.
"""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

#: IANA special-purpose registries (RFC 6890), written out: what `ipaddress` calls global has changed between
#: patch releases of Python. 168.63.129.16 is public by number and Azure's metadata host by habit.
_NOT_PUBLIC_4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24",
        "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
    )
)  # fmt: skip
_GLOBAL_UNICAST_6 = ipaddress.IPv6Network("2000::/3")
#: Within 2000::/3: Teredo and other protocol assignments, documentation, 6to4, Direct Delegation, SRv6.
_NOT_PUBLIC_6 = tuple(
    ipaddress.IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
#: DNS64 puts a public IPv4 address into this prefix on networks without IPv4 (RFC 6052).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class EgressDenied(OSError):
    """A connection that the guard did not let happen. An OSError, so that connectors treat it as one."""


def is_public(address: str) -> bool:
    """Whether an address is a public unicast one. What is not a canonical address literal is not."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return _is_public(parsed)


def _is_public(address: IPAddress) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address in _NAT64:
        return _is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _GLOBAL_UNICAST_6 and not any(address in network for network in _NOT_PUBLIC_6)


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """Destinations beside the public Internet, as "host:port" ("127.0.0.1:8031", "[::1]:8031").

    Such a destination may be private, and may be spoken to without TLS.
    """

    allow_hosts: frozenset[str] = frozenset()

    def allows(self, host: str, port: int) -> bool:
        """Whether this very destination was named by the operator."""
        name = host.strip("[]").lower()
        return f"{name}:{port}" in self.allow_hosts or f"[{name}]:{port}" in self.allow_hosts


class EgressGuard(AbstractResolver):
    """Resolver and socket factory of one connector: together they let through what the policy allows."""

    def __init__(self, policy: EgressPolicy, resolver: AbstractResolver) -> None:
        self._policy = policy
        self._resolver = resolver
        # Addresses of names that the operator allowed: the socket factory is not told the name.
        self._vouched: set[tuple[str, int]] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name that may be connected to. Raises EgressDenied if there is none."""
        found = await self._resolver.resolve(host, port, family)
        if self._policy.allows(host, port):
            self._vouched.update((result["host"], port) for result in found)
            return found
        public = [result for result in found if is_public(result["host"])]
        if not public:
            raise EgressDenied(f"{host} has no public address ({_listed(found)})")
        return public

    def open_socket(self, info: AddrInfoType) -> socket.socket:
        """A socket for an address the policy allows. Raises EgressDenied."""
        family, kind, protocol, _, address = info
        host, port = str(address[0]), int(address[1])
        if not (is_public(host) or self._policy.allows(host, port) or (host, port) in self._vouched):
            raise EgressDenied(f"{host} is not a public address")
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        await self._resolver.close()


def _listed(found: Iterable[ResolveResult]) -> str:
    return ", ".join(result["host"] for result in found) or "none"

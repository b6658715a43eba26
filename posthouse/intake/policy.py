"""What a stream takes, made of the settings once at the start."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from posthouse.config import Settings, StreamSettings
from posthouse.domain.address import parse_domain
from posthouse.domain.errors import InvalidAddress, Misconfigured
from posthouse.domain.ids import RelayAccount
from posthouse.domain.stream import Stream


@dataclass(frozen=True, slots=True)
class StreamPolicy:
    from_domains: frozenset[str]
    expires_after: timedelta
    #: Whether every relay of the stream can show a copy whose To and Cc name other people.
    shows_other_recipients: bool
    #: Whether every relay is a simulator, which may be mailed at reserved domains.
    simulated: bool


def policies(
    settings: Settings, *, shows_other_recipients: Mapping[RelayAccount, bool]
) -> dict[Stream, StreamPolicy]:
    """`shows_other_recipients` comes from the relays' capabilities. Raises Misconfigured."""
    return {
        name: StreamPolicy(
            from_domains=frozenset(_domain(name, domain) for domain in stream.from_domains),
            expires_after=stream.expires_after,
            shows_other_recipients=all(shows_other_recipients[account] for account in stream.relays),
            simulated=_simulated(settings, stream),
        )
        for name, stream in settings.streams.items()
    }


def _simulated(settings: Settings, stream: StreamSettings) -> bool:
    return all(settings.relay(account).simulator for account in stream.relays)


def _domain(stream: Stream, domain: str) -> str:
    try:
        return parse_domain(domain)
    except InvalidAddress as error:
        raise Misconfigured(
            f"[streams.{stream}] from_domains: {domain!r} is no domain. {error}",
            pointer=f"/streams/{stream}/from_domains",
        ) from error

"""Which endpoints hear of an event."""

from posthouse.domain.webhook import EventName, Interest
from posthouse.outhooks.payload import from_domain_of, tags_of
from posthouse.storage.webhook_outbox import WaitingEvent


def wants(interest: Interest, name: EventName, event: WaitingEvent) -> bool:
    """Whether all filters of an endpoint let this through. Sandboxed mail and live mail never meet."""
    return (
        name in interest.names
        and interest.sandbox == event.sandbox
        and interest.stream in (None, event.stream)
        and (not interest.from_domains or from_domain_of(event) in interest.from_domains)
        and (not interest.tags or interest.tags.issubset(tags_of(event)))
    )

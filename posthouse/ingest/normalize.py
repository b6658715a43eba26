"""A stored callback becomes events of our own kind, machine opens and clicks marked."""

from dataclasses import dataclass

import msgspec

from posthouse.domain.errors import InvalidInput
from posthouse.domain.event import Event, EventType
from posthouse.ingest.machines import Act, judge
from posthouse.relays.base import CallbackReader, RawCallback, Unplaced

_ACTS = {EventType.OPENED: Act.OPEN, EventType.CLICKED: Act.CLICK}


@dataclass(frozen=True, slots=True)
class Normalized:
    """All that a callback says: of our jobs, and of mail that names none of them."""

    events: tuple[Event, ...]
    unplaced: tuple[Unplaced, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The body cannot be read at all; for the dead letters."""

    reason: str


def normalize(callback: RawCallback, reader: CallbackReader) -> Normalized | Refused:
    """Read a verified callback. Never raises for what is in it."""
    try:
        events, unplaced = reader.parse(callback)
    except InvalidInput as error:
        return Refused(error.message)
    return Normalized(tuple(map(_marked, events)), tuple(unplaced))


def _marked(event: Event) -> Event:
    act = _ACTS.get(event.type)
    if act is None or event.machine:
        return event
    judgement = judge(act, user_agent=event.user_agent)
    return msgspec.structs.replace(event, machine=True) if judgement.is_machine else event

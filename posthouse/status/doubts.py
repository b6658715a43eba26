"""Doubts: outcomes that stayed unknown, and how they end. A relay that can be asked is asked first; what it
cannot tell, and all else, is settled by what its silence means (DoubtRule)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, assert_never
from uuid import uuid4

from posthouse.clock import Clock
from posthouse.domain.event import Event, EventType, Origin
from posthouse.domain.ids import EventId, JobId, RelayAccount, own_event_id
from posthouse.domain.stream import Stream
from posthouse.failpoints import failpoint
from posthouse.relays.base import CannotTell, WasNotTaken, WasTaken
from posthouse.status.apply import Policy, apply
from posthouse.status.asking import Asking, Learned
from posthouse.status.house_events import house_event
from posthouse.storage import leases
from posthouse.storage.db import Database
from posthouse.storage.leases import Doubt

#: A doubt held for the operator ends after this long, so that it pins no partition.
DOUBT_ENDS_AFTER: Final = timedelta(days=7)
#: A relay that could not tell of a mail that is held is asked again after this long.
ASK_AGAIN_AFTER: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class DoubtRule:
    """What silence means for a stream, and what to do where it means nothing."""

    silence_means_not_taken: bool  # every relay of the stream reports each mail it takes
    repeat: bool  # where silence proves nothing: send again, or hold for the operator


#: The sandbox tells what becomes of a mail before it says that it took it, whatever the stream's relays do.
_SANDBOX_RULE: Final = DoubtRule(silence_means_not_taken=True, repeat=False)


async def settle_doubts(
    db: Database,
    rules: Mapping[Stream, DoubtRule],
    policy: Policy,
    clock: Clock,
    asked: Sequence[Stream] = (),
) -> int:
    """Settle unknown outcomes whose time has come, but for those of streams whose relays are `asked` first.
    Returns how many were settled or held."""
    async with db.transaction() as tx:
        doubts = await leases.doubts_due(tx, asked)
        now = clock.now()
        events = [_by_silence(d, now, _rule(d, rules), held_out=d.held) for d in doubts]
        await apply(tx, [event for event in events if event is not None], policy)
        held = [doubt.job_id for doubt, event in zip(doubts, events, strict=True) if event is None]
        await leases.hold_doubts(tx, held, now + DOUBT_ENDS_AFTER)
        failpoint("sweeper.settled")
    return len(doubts)


async def settle_by_asking(
    db: Database, asking: Asking, rules: Mapping[Stream, DoubtRule], policy: Policy, clock: Clock
) -> int:
    """Settle a set of the unknown outcomes of streams whose relays can be asked. They are asked outside of
    any transaction; what settled itself meanwhile stays as it is. Returns how many were settled or held."""
    if not asking.streams:
        return 0
    async with db.session() as session:
        found = await leases.doubts_to_ask(session, asking.streams)
    if not found:
        return 0
    learned = await asking.learn(found)
    async with db.transaction() as tx:
        doubts = await leases.lock_doubts(tx, [doubt.job_id for doubt in found])
        doubts = [doubt for doubt in doubts if (doubt.job_id, doubt.attempt) in learned]
        now = clock.now()
        events = [_by_answer(d, learned[d.job_id, d.attempt], now, rules[Stream(d.stream)]) for d in doubts]
        await apply(tx, [event for event in events if event is not None], policy)
        held = [doubt.job_id for doubt, event in zip(doubts, events, strict=True) if event is None]
        await leases.hold_doubts(tx, held, now + ASK_AGAIN_AFTER)
        failpoint("sweeper.settled")
    return len(doubts)


def _by_answer(doubt: Doubt, learned: Learned, now: datetime, rule: DoubtRule) -> Event | None:
    answer = learned.answer
    match answer:
        case WasTaken(provider_message_id):
            return _was_taken(doubt, now, learned.account, provider_message_id)
        case WasNotTaken(reason):
            return _again_unless_cancelled(doubt, now, reason)
        case CannotTell(reason):
            held_out = now >= learned.since + DOUBT_ENDS_AFTER
            return _by_silence(doubt, now, rule, held_out=held_out, asked=f" (asked: {reason})")
        case _:
            assert_never(answer)


def _was_taken(doubt: Doubt, now: datetime, account: RelayAccount | None, provider_message_id: str) -> Event:
    """The fact that the hand-over would have recorded, had it heard the answer: hence its id."""
    return Event(
        job_id=doubt.job_id,
        event_id=own_event_id(doubt.job_id, doubt.attempt, EventType.SENT.value),
        attempt=doubt.attempt,
        type=EventType.SENT,
        origin=Origin.HOUSE,
        occurred_at=now,
        reason=f"{account} was asked, and has this mail",
        relay=account,
        provider_message_id=provider_message_id,
    )


def _rule(doubt: Doubt, rules: Mapping[Stream, DoubtRule]) -> DoubtRule:
    return _SANDBOX_RULE if doubt.sandbox else rules[Stream(doubt.stream)]


def _by_silence(
    doubt: Doubt, now: datetime, rule: DoubtRule, *, held_out: bool, asked: str = ""
) -> Event | None:
    """How silence ends a doubt; None: it does not, and the doubt is held for the operator, unless it was
    held for as long as can be. `asked`: what a relay said that could not tell, in brackets."""
    if rule.silence_means_not_taken:
        why = "the relay reports each mail it takes and did not report this one"
        return _again_unless_cancelled(doubt, now, f"{why}{asked}")
    if rule.repeat:
        return _again_unless_cancelled(doubt, now, f"the outcome stayed unknown{asked}")
    if held_out:
        why = f"the outcome never became known{asked}"
        return house_event(doubt.job_id, doubt.attempt, EventType.FAILED, now, why)
    return None


def _again_unless_cancelled(doubt: Doubt, now: datetime, why: str) -> Event:
    return _not_repeated(doubt, now, why) if doubt.no_repeat else _goes_again(doubt, now, why)


def _goes_again(doubt: Doubt, now: datetime, why: str) -> Event:
    return house_event(doubt.job_id, doubt.attempt, EventType.DEFERRED, now, f"{why}: sent again")


def _not_repeated(doubt: Doubt, now: datetime, why: str) -> Event:
    """Cancelling came too late for the attempt in doubt, and in time for the one that would follow it."""
    reason = f"{why}, and it was to be cancelled: not sent again"
    return house_event(doubt.job_id, doubt.attempt, EventType.CANCELLED, now, reason)


def resolved_by_operator(job_id: JobId, attempt: int, kind: EventType, now: datetime, reason: str) -> Event:
    """The operator's word about a held outcome: sent, failed, or deferred (goes again)."""
    return Event(
        job_id=job_id,
        event_id=EventId(uuid4()),
        attempt=attempt,
        type=kind,
        origin=Origin.HOUSE,
        occurred_at=now,
        reason=f"resolved by the operator: {reason}",
        due_at=now,
    )

"""What the demo proves, line by line: the house's books against the simulator's own ledger."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
import msgspec

from posthouse.domain.event import EventType
from posthouse.domain.job import OPEN_STATES, Status
from posthouse.status.audit import Finding
from posthouse.status.auditor import Verdict
from posthouse.storage.db import Database
from posthouse.storage.demo import EventCount, event_counts

#: What cannot happen in a demo: nobody cancels yet, and the simulator knows no words that we do not.
NOT_EXPECTED: Final = frozenset({EventType.CANCELLED, EventType.UNKNOWN})


class EventsSummary(msgspec.Struct, frozen=True):
    """/sim/events/summary: counts by stage and kind."""

    decided: dict[str, int] = {}
    done: dict[str, int] = {}
    failed: dict[str, int] = {}


class LedgerSummary(msgspec.Struct, frozen=True):
    """/sim/ledger/summary."""

    messages: int


class Idle(msgspec.Struct, frozen=True):
    idle: bool
    people: int
    webhook_events: int


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold, with the two numbers (or words) that were compared."""

    what: str
    ours: object
    theirs: object

    @property
    def holds(self) -> bool:
        return self.ours == self.theirs


@dataclass(frozen=True, slots=True)
class Simulator:
    """Asks the simulator what it saw."""

    url: str
    session: aiohttp.ClientSession

    async def idle(self) -> Idle:
        return msgspec.json.decode(await self._get("/sim/idle"), type=Idle)

    async def events(self) -> EventsSummary:
        return msgspec.json.decode(await self._get("/sim/events/summary"), type=EventsSummary)

    async def ledger(self) -> LedgerSummary:
        return msgspec.json.decode(await self._get("/sim/ledger/summary"), type=LedgerSummary)

    async def cut_after_body(self, account: str, times: int) -> None:
        """The next mails of an account are taken, and the line breaks before the answer."""
        fault = {"kind": "cut_after_body", "account": account, "times": times}
        async with self.session.post(f"{self.url}/sim/faults", data=msgspec.json.encode(fault)) as response:
            response.raise_for_status()

    async def _get(self, path: str) -> bytes:
        async with self.session.get(f"{self.url}{path}") as response:
            response.raise_for_status()
            return await response.read()


async def checks(
    db: Database, verdict: Verdict, sent: int, simulator: Simulator, never_heard: frozenset[EventType]
) -> list[Check]:
    """Everything that must hold when the demo is over. `never_heard`: events that this house's relays do not
    tell of."""
    books, comparison = verdict.books, verdict.comparison
    theirs = await simulator.events()
    ours = _by_kind(await event_counts(db))
    expected = set(EventType) - NOT_EXPECTED - never_heard
    missing = {kind.value for kind in expected if not books.events.get(kind)}
    return [
        Check("accepted as often as posted", books.accepted, sent),
        Check("books balance (residual)", books.residual, 0),
        Check("nothing pending or unknown", sum(books.by_status.get(s, 0) for s in OPEN_STATES), 0),
        Check("kinds of event that did not occur", sorted(missing), []),
        *(
            Check(f"audit: {finding.value.replace('_', ' ')}", comparison.count(finding), 0)
            for finding in Finding
        ),
        Check("mails at the simulator", comparison.mails, (await simulator.ledger()).messages),
        Check("visits answered wrongly", sum(theirs.failed.values()), 0),
        *(
            Check(f"{name}: ours and the simulator's", ours[name], _theirs(theirs, kinds))
            for name, kinds in _SAME.items()
        ),
    ]


#: Our kind of event, and the simulator's words for it.
_SAME: Final[Mapping[str, tuple[str, ...]]] = {
    "delivered": ("delivered",),
    "hard bounced": ("hard",),
    "soft bounced": ("soft",),
    "blocked": ("block",),
    "rejected": ("dropped",),
    "complained": ("complaint",),
    "opened": ("human_open", "machine_open"),
    "clicked": ("click", "machine_click"),
    "unsubscribed": ("unsubscribe",),
}


def _theirs(summary: EventsSummary, kinds: tuple[str, ...]) -> int:
    return sum(summary.done.get(kind, 0) for kind in kinds)


def _by_kind(counts: list[EventCount]) -> Counter[str]:
    """Our events under the names of `_SAME`."""
    named: Counter[str] = Counter()
    for count in counts:
        match count.type, count.bounce_class:
            case "bounced", "hard":
                named["hard bounced"] += count.n
            case "bounced", "soft":
                named["soft bounced"] += count.n
            case "bounced", "block":
                named["blocked"] += count.n
            case kind, _:
                named[kind] += count.n
    return named


def is_settled(by_status: Mapping[Status, int]) -> bool:
    return not any(by_status.get(status, 0) for status in OPEN_STATES)

"""What every HTTP relay does with a mail it takes: ledger first, then its course, its readers, its events."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from posthouse.simulator.course import Course, Step, course_of
from posthouse.simulator.events import EventKind, MailRef, Stage
from posthouse.simulator.ledger import Via
from posthouse.simulator.letter import Envelope, Reading
from posthouse.simulator.people import (
    FollowLink,
    Intent,
    LoadImages,
    LookAtPage,
    OneClick,
    PressButton,
    ReportSpam,
)
from posthouse.simulator.postoffice import Taken
from posthouse.simulator.providers import Mailbox
from posthouse.simulator.webhooks import Webhook, WebhookEvent
from posthouse.simulator.world import World


@dataclass(frozen=True, slots=True)
class Tracking:
    """What the relay itself watches of a mail's readers, where the sender did not switch it off."""

    opens: bool = False
    clicks: bool = False
    unsubscribes: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """A step as the vendor is asked to put it into words. `occurred_at`: Unix time in seconds."""

    step: Step
    mailbox: Mailbox
    ref: MailRef
    occurred_at: float


@dataclass(frozen=True, slots=True)
class Posted:
    """One recipient of one request."""

    address: str
    sender: str
    envelope: Envelope
    read: Callable[[], Reading]  # called only if somebody looks at it
    #: The event in the vendor's words; None for one that this vendor never tells.
    tell: Callable[[Told], bytes | None]
    tracking: Tracking = Tracking()
    course: Course | None = None  # None: what its mailbox decides


@dataclass(frozen=True, slots=True)
class _Planned:
    posted: Posted
    mailbox: Mailbox
    course: Course


class Carrier:
    """The mails of one account."""

    def __init__(self, account: str, via: Via, world: World, webhook: Webhook | None) -> None:
        self._account = account
        self._via = via
        self._world = world
        self._webhook = webhook

    async def take(self, posts: Sequence[Posted], body: bytes) -> None:
        """Takes a request for all its recipients; returns when the ledger is durable: that is when to
        answer."""
        planned = [self._planned(posted) for posted in posts]
        durable: asyncio.Future[Sequence[MailRef]] = asyncio.get_running_loop().create_future()
        self._world.office.take([self._taken(one) for one in planned], body, durable.set_result)
        for ref, one in zip(await durable, planned, strict=True):
            self._go(ref, one)

    def _planned(self, posted: Posted) -> _Planned:
        office, envelope = self._world.office, posted.envelope
        mailbox = office.providers.mailbox(posted.address)
        tries_key = f"{posted.address.lower()}\x1f{envelope.job_id or envelope.subject}"
        course = posted.course or course_of(
            mailbox,
            office.providers.delays,
            self._world.settings.seed,
            envelope.subject,
            lambda tries: office.tries.fails(tries_key, tries),
        )
        return _Planned(posted, mailbox, course)

    def _taken(self, one: _Planned) -> Taken:
        return Taken(
            self._account, self._via, one.mailbox, one.posted.sender, one.posted.envelope, one.course.outcome
        )

    def _go(self, ref: MailRef, one: _Planned) -> None:
        """Everything that follows the answer: events, and readers where it arrives."""
        now = asyncio.get_running_loop().time()
        scale = self._world.settings.time_scale
        steps = list(one.course.steps)
        if one.course.arrives is not None:
            arrives = one.course.arrives
            plan = self._world.office.intents(one.mailbox, one.posted.envelope, one.posted.read)
            complaints = self._world.office.deliver(ref, plan, now + arrives * scale)
            steps += [Step(EventKind.COMPLAINT, (at - now) / scale) for at in complaints]
            steps += [step for intent in plan for step in _tracked(intent, arrives, one.posted.tracking)]
        for step in steps:
            self._tell(ref, one, step, now)

    def _tell(self, ref: MailRef, one: _Planned, step: Step, now: float) -> None:
        after = step.after * self._world.settings.time_scale
        told = Told(step, one.mailbox, ref, self._world.clock.now().timestamp() + after)
        payload = one.posted.tell(told)
        if payload is None or self._webhook is None:
            self._world.events.record(step.kind, Stage.DECIDED, ref)
            return
        self._webhook.send(WebhookEvent(step.kind, ref, payload), now + after)


def _tracked(intent: Intent, arrives: float, tracking: Tracking) -> list[Step]:
    """What the relay itself would report of a reader's deed."""
    at = arrives + intent.after
    match intent.action:
        case LoadImages(kind=kind, agent=agent) if tracking.opens:
            return [Step(kind, at, agent=agent)]
        case FollowLink(kind=kind, url=url, agent=agent) if tracking.clicks:
            return [Step(kind, at, url=url, agent=agent)]
        case OneClick() | PressButton() if tracking.unsubscribes:
            return [Step(EventKind.UNSUBSCRIBE, at)]
        case LoadImages() | FollowLink() | LookAtPage() | OneClick() | PressButton() | ReportSpam():
            return []

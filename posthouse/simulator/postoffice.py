"""The middle of the simulator: what was taken goes into the ledger first, and then on to its mailbox."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from posthouse.clock import Clock
from posthouse.simulator.events import EventKind, EventLog, MailRef, Stage
from posthouse.simulator.ledger import Ledger, LedgerEntry, Outcome, Via
from posthouse.simulator.letter import Envelope, Reading
from posthouse.simulator.people import Agenda, Intent, ReportSpam, intents
from posthouse.simulator.providers import Mailbox, Providers, Verdict
from posthouse.simulator.store import MessageStore

_TRIES_REMEMBERED = 200_000


@dataclass(frozen=True, slots=True)
class Taken:
    """One mail to one recipient, about to be taken."""

    account: str
    via: Via
    mailbox: Mailbox
    sender: str
    envelope: Envelope
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Refusal:
    """A mailbox provider's no, in its words."""

    reply: str


class Tries:
    """How often each mailbox was tried, so that a full one can become empty. Forgets the oldest."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()

    def fails(self, key: str, tries: int) -> bool:
        """Whether this try fails, of a fate that fails `tries` times (0: always). Counts the try."""
        if tries == 0:
            return True
        seen = self._counts.pop(key, 0)
        self._counts[key] = seen + 1
        if len(self._counts) > _TRIES_REMEMBERED:
            self._counts.popitem(last=False)
        return seen < tries


class PostOffice:
    def __init__(
        self,
        *,
        providers: Providers,
        ledger: Ledger,
        store: MessageStore,
        events: EventLog,
        agenda: Agenda,
        clock: Clock,
        seed: int,
        time_scale: float,
    ) -> None:
        self.providers = providers
        self.ledger = ledger
        self.store = store
        self.events = events
        self.tries = Tries()
        self._agenda = agenda
        self._clock = clock
        self._seed = seed
        self._scale = time_scale

    def ask_mailbox(self, account: str, address: str) -> Refusal | None:
        """What the mailbox's server answers to RCPT; None: come in. Counts as a try."""
        mailbox = self.providers.mailbox(address)
        fate = mailbox.fate
        if fate is None or fate.verdict in (Verdict.ASYNC, Verdict.DROP):
            return None
        if not self.tries.fails(address.lower(), fate.tries):
            return None
        ref = MailRef(0, account, address)
        kind = refusal_kind(fate.verdict)
        self.events.record(kind, Stage.DECIDED, ref)
        self.events.record(kind, Stage.DONE, ref, mailbox.reply)
        return Refusal(mailbox.reply)

    def take(self, mails: Sequence[Taken], body: bytes, then: Callable[[Sequence[MailRef]], None]) -> None:
        """Writes the ledger, and calls `then` when its lines are durable: that is when to answer."""
        now = round(self._clock.now().timestamp(), 3)
        place = self.store.keep(body)
        entries = [_entry(self.ledger.next_n(), now, mail) for mail in mails]
        refs = [MailRef(e.n, e.account, e.to, e.job_id, e.attempt) for e in entries]
        for entry in entries:
            self.store.index(entry, place)
        self.ledger.append(entries, lambda: then(refs))

    def intents(self, mailbox: Mailbox, envelope: Envelope, read: Callable[[], Reading]) -> list[Intent]:
        """What will be done with a mail that reaches this mailbox. Calls `read` only if somebody looks."""
        mail_key = envelope.subject or envelope.message_id
        reader = self.providers.reader(mailbox, mail_key)
        if reader is None:
            return []
        what = (mailbox.address.lower(), mail_key)
        return intents(reader, read(), self.providers.delays, self._seed, what)

    def deliver(self, ref: MailRef, plan: Sequence[Intent], arrives_at: float) -> list[float]:
        """Puts visits on the agenda. Returns when (event loop's clock) each report of spam is made."""
        complaints: list[float] = []
        for intent in plan:
            at = arrives_at + intent.after * self._scale
            if isinstance(intent.action, ReportSpam):
                complaints.append(at)
            else:
                self._agenda.plan(ref, intent.action, at)
        return complaints

    def deliver_plain(
        self, ref: MailRef, mailbox: Mailbox, envelope: Envelope, read: Callable[[], Reading]
    ) -> list[float]:
        """Mail of a relay that reports nothing: it arrives at once. Returns when (event loop's clock) each
        report of spam is made."""
        if mailbox.fate is not None and mailbox.fate.verdict in (Verdict.ASYNC, Verdict.DROP):
            return []
        self.events.record(EventKind.DELIVERED, Stage.DECIDED, ref)
        return self.deliver(ref, self.intents(mailbox, envelope, read), asyncio.get_running_loop().time())


def refusal_kind(verdict: Verdict) -> EventKind:
    match verdict:
        case Verdict.HARD | Verdict.ASYNC:
            return EventKind.HARD
        case Verdict.SOFT:
            return EventKind.SOFT
        case Verdict.BLOCK:
            return EventKind.BLOCK
        case Verdict.LATER:
            return EventKind.DEFERRED
        case Verdict.DROP:
            return EventKind.DROPPED


def _entry(n: int, at: float, mail: Taken) -> LedgerEntry:
    return LedgerEntry(
        n,
        at,
        mail.account,
        mail.via,
        mail.mailbox.address,
        mail.sender,
        mail.envelope.message_id,
        mail.envelope.job_id,
        mail.envelope.attempt,
        mail.envelope.subject,
        mail.outcome,
    )

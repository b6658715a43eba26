"""The relay port: what every relay can be asked, and every answer it can give.

A relay takes a list and answers in order, one outcome for each mail. It never raises for what a server or a
network does: each such thing is an outcome. What it cannot express it refuses aloud (`RejectedMessage`),
never by leaving it out.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from posthouse.domain.event import BounceClass, Event, EventType
from posthouse.domain.ids import AddressKey, JobId, RelayAccount
from posthouse.domain.message import RawMail, Rendered
from posthouse.domain.suppression import SuppressionReason


class Accepted(Struct, frozen=True, gc=False):
    """The relay took the mail; its promise, not yet the recipient's server's.

    A struct, unlike the rarer outcomes: one is made for nearly every mail, in a fifth of the time.
    """

    provider_message_id: str
    reply: str


@dataclass(frozen=True, slots=True)
class RejectedRecipient:
    """The relay or its next server refused this address."""

    bounce: BounceClass
    reply: str
    smtp_code: int | None = None
    enhanced_code: str | None = None


@dataclass(frozen=True, slots=True)
class NotTried:
    """The relay did not try this address: it stands on the relay's own list. No bounce: nobody was asked.

    `listed_for`: what it stands there for, where the relay says so; the address goes on our list then.
    """

    reply: str
    listed_for: SuppressionReason | None = None


@dataclass(frozen=True, slots=True)
class RejectedMessage:
    """This mail will never be taken as it is, whoever it is for (too large, malformed, unsupported)."""

    reply: str
    smtp_code: int | None = None
    enhanced_code: str | None = None


@dataclass(frozen=True, slots=True)
class TryLater:
    """Not now: throttled, greylisted, relay or server in trouble. Nothing was taken.

    `retry_after` (seconds) when the relay says or its code implies one; None: our own backoff.
    `slow_relay`: the whole account should pause, not only this mail.
    """

    reply: str
    retry_after: float | None = None
    slow_relay: bool = False
    smtp_code: int | None = None
    enhanced_code: str | None = None


@dataclass(frozen=True, slots=True)
class AccountTrouble:
    """Credentials, plan or set-up: no mail will pass until the operator acts. Opens the circuit."""

    reply: str
    smtp_code: int | None = None
    enhanced_code: str | None = None


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """The mail went out and the answer never came (RFC 1047's window)."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotBegun:
    """No byte of this mail was sent: no connection within a second, or the gate was shut.

    `resumes_in` (seconds) when the account takes no more before then: its rate is used up. It pauses.
    `slow_relay`: no connection could be had, all were busy or none was answered.
    """

    reason: str
    resumes_in: float | None = None
    slow_relay: bool = False


Outcome: TypeAlias = (
    Accepted
    | RejectedRecipient
    | NotTried
    | RejectedMessage
    | TryLater
    | AccountTrouble
    | OutcomeUnknown
    | NotBegun
)

#: Asked before the first byte of each hand-over; False means: do not begin (the worker lost its lease).
Gate: TypeAlias = Callable[[], bool]
#: Told the place of a mail in its list and what became of it, as soon as that is known, at most once.
Tell: TypeAlias = Callable[[int, Outcome], None]


def tell_nobody(_place: int, _outcome: Outcome) -> None:
    """For who waits for the whole list."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an adapter can do; used by the code and shown to operators."""

    takes_raw: bool  # wants RawMail; otherwise Rendered
    max_message_bytes: int
    batch: int  # mails in one request
    shows_other_recipients: bool  # To and Cc may name people this copy is not for
    keeps_message_id: bool
    reports_acceptance: bool  # tells of each mail it took: its silence means it was not taken
    can_be_asked: bool  # about mail whose outcome is in doubt: it has an Inquirer
    own_return_path: bool  # honours our envelope sender


class Relay(Protocol):
    """One account at one relay."""

    account: RelayAccount
    capabilities: Capabilities

    async def send_many(
        self, mails: Sequence[Rendered | RawMail], gate: Gate, tell: Tell = tell_nobody
    ) -> list[Outcome]:
        """Hand over each mail; answers in the same order, one for each. Never raises but on cancellation.

        `tell` may hear of an outcome before the list is whole: one mail's server may be waited for minutes,
        while those that could not begin within a second go elsewhere.
        """
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A hand-over whose answer never came, as its relay is asked about it.

    `message_id` has its angle brackets, and is the same for every attempt of a job. The mail was handed over
    before `in_doubt_since`: by as much as a time-out, or as it took to find that a worker had died.
    """

    job_id: JobId
    attempt: int
    recipient: str
    message_id: str
    in_doubt_since: datetime


@dataclass(frozen=True, slots=True)
class WasTaken:
    """The relay's records have this attempt."""

    provider_message_id: str


@dataclass(frozen=True, slots=True)
class WasNotTaken:
    """The relay's records would have it by now, and have not. Say it only where they prove it."""

    reason: str


@dataclass(frozen=True, slots=True)
class CannotTell:
    """No answer, one that proves nothing, or too early for one that would."""

    reason: str


Answer: TypeAlias = WasTaken | WasNotTaken | CannotTell


class Inquirer(Protocol):
    """Asks one account what became of mails in doubt."""

    account: RelayAccount

    async def ask(self, inquiries: Sequence[Inquiry]) -> list[Answer]:
        """One answer for each, in the same order. Never raises but on cancellation; ends by itself within
        a time that is bounded, whatever the server does."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ListedThere:
    """An address on a relay's own suppression list, as the relay shows it: foreign text, cleaned, unread."""

    address: str
    reason: SuppressionReason
    since: datetime | None
    words: str  # the relay's own; "" when it says nothing


@dataclass(frozen=True, slots=True)
class OnList:
    """An address to be put on a relay's list, or taken off it."""

    address: AddressKey
    reason: SuppressionReason


@dataclass(frozen=True, slots=True)
class Changed:
    """The list is now as it was asked for, whether it had to be changed or not."""


@dataclass(frozen=True, slots=True)
class KeptThere:
    """The relay will not: asking again changes nothing."""

    reason: str


Change: TypeAlias = Changed | KeptThere


@dataclass(frozen=True, slots=True)
class ListRules:
    """What a relay lets its customer change of its list.

    `adds`: the reasons that can be put there, and what each reads as from then on. `keeps`: the reasons whose
    entries only the relay takes away.
    """

    adds: Mapping[SuppressionReason, SuppressionReason]
    keeps: frozenset[SuppressionReason] = frozenset()


class SuppressionList(Protocol):
    """The addresses that one account does not try: it takes their mail, and drops it.

    Every method raises NotNow when the relay is away or cannot be understood, and Misconfigured when the
    account's key may not see its lists.
    """

    account: RelayAccount
    rules: ListRules
    #: Which list it is of the vendor's, as "mailgun mail.shop.example": another one under the same account's
    #: name has lost nothing, it is another.
    place: str

    def read(self) -> AsyncIterator[Sequence[ListedThere]]:
        """The whole list in pages, each a part that fits in memory. An entry may come twice."""
        ...

    async def add(self, entries: Sequence[OnList]) -> list[Change]:
        """One answer for each, in the same order. `rules.adds` must have the reasons."""
        ...

    async def remove(self, entries: Sequence[OnList]) -> list[Change]:
        """The same. What is not there is `Changed`."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class RawCallback:
    """A relay's callback as it came. `headers` have lower-case names."""

    relay: str
    account: RelayAccount
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Fetched:
    """A callback that waited at the relay. `receipt` is what the relay wants back when it is stored."""

    callback: RawCallback
    receipt: str


class CallbackSource(Protocol):
    """Where callbacks wait until they are fetched, as in a queue of SQS. What is fetched and not given back
    as stored comes again, perhaps to somebody else."""

    account: RelayAccount

    async def fetch(self) -> list[Fetched]:
        """Some of what waits; waits a while for the first. Raises NotNow."""
        ...

    async def stored(self, fetched: Sequence[Fetched]) -> None:
        """They are durable here, and need not come again. Raises NotNow."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A relay's event that names no job of ours by our id, kept for its address and for the operator."""

    recipient: str | None
    type: EventType
    bounce: BounceClass | None
    raw: bytes


@runtime_checkable
class Handshaker(Protocol):
    """What a reader may be as well: of a relay whose protocol asks for calls of ours around its callbacks.

    SNS names the certificate that it signed with, and wants a subscription confirmed. Both need the network,
    and so stand beside `verify`, which stays pure. Neither raises but NotNow (the relay is to repeat) and on
    cancellation.
    """

    async def prepare(self, callback: RawCallback) -> None:
        """Before `verify`: have at hand what it needs. Nothing is proved yet: fetch only what is pinned."""
        ...

    async def conclude(self, callback: RawCallback) -> None:
        """After `verify`, of a genuine callback: answer what asks for more than being stored."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class OneTime(Protocol):
    """What a reader may be as well: of a relay whose signature does not cover the body.

    It signs a token that is given to one callback only, so a token that was seen with another body is a
    forgery around a genuine signature.
    """

    def token(self, callback: RawCallback) -> str:
        """The token of a verified callback; the same for each repetition."""
        ...


class CallbackReader(Protocol):
    """The way back from one relay account: is it genuine, and what does it say?"""

    relay: str
    account: RelayAccount

    def verify(self, callback: RawCallback) -> bool:
        """Whether the raw bytes are the relay's. Constant time; never raises."""
        ...

    def parse(self, callback: RawCallback) -> tuple[list[Event], list[Unplaced]]:
        """Every event in a verified body. Unknown words become EventType.UNKNOWN; a body that cannot be
        read at all raises InvalidInput."""
        ...

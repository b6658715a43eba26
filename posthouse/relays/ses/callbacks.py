"""The way back from one SES account: events that SNS posts, or that a queue held.

Verified by SNS's signature (see certificates.py), and only of topics that the operator allows: a valid
signature of Amazon's proves that SNS sent it, not that the topic is ours.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from posthouse.clock import Clock
from posthouse.domain.errors import InvalidInput, NotNow
from posthouse.domain.event import Event, EventType
from posthouse.domain.ids import RelayAccount
from posthouse.relays.base import RawCallback, Unplaced
from posthouse.relays.entries import Entry, fields, text
from posthouse.relays.http import clean
from posthouse.relays.ses.certificates import Certificates
from posthouse.relays.ses.events import read_event
from posthouse.relays.ses.sns import Envelope, Kind, certificate_file, read_envelope
from posthouse.relays.ses.sns_web import AllowedTopic, SnsWeb
from posthouse.telemetry import log

#: SNS repeats a message for an hour at most, under its first timestamp, and its clock or ours may be off by
#: another. What is repeated in between changes nothing: events keep their ids.
MAX_AGE: Final = timedelta(hours=2, minutes=10)
MAX_AHEAD: Final = timedelta(hours=1, minutes=10)
#: SES posts this once, as plain text, when somebody adds a topic to a configuration set.
_GREETING: Final = "Successfully validated SNS topic for Amazon SES event publishing."


class SesCallbacks:
    """One account. Owns its calls to SNS: closing closes them."""

    relay = "ses"

    def __init__(
        self, account: RelayAccount, topics: Sequence[AllowedTopic], web: SnsWeb, clock: Clock
    ) -> None:
        """Without topics nothing that is posted is genuine: events come by a queue, or not at all."""
        self.account = account
        self._topics = {allowed.topic.arn: allowed for allowed in topics}
        self._web = web
        self._clock = clock
        self._certificates = Certificates(web.certificate, clock)

    async def prepare(self, callback: RawCallback) -> None:
        """Have the certificate that a plausible message names. Raises NotNow."""
        envelope = read_envelope(callback.body)
        allowed = self._allowed(envelope)
        if envelope is None:
            return
        if allowed is None:
            # A 401 is final to SNS: an operator who mistyped a topic would lose its events in silence.
            log.warning(
                "a message of SNS is not of a topic that is allowed, not timely, or names a certificate "
                "from elsewhere",
                relay=self.account,
                topic=clean(envelope.topic_arn, 300),
                sent_at=envelope.sent_at.isoformat(),
            )
            return
        await self._certificates.want(envelope.certificate_url, allowed.topic.signers)

    def verify(self, callback: RawCallback) -> bool:
        """Whether SNS signed this, lately, for a topic that is allowed."""
        envelope = read_envelope(callback.body)
        if envelope is None or self._allowed(envelope) is None:
            return False
        certificate = self._certificates.find(envelope.certificate_url)
        return certificate is not None and certificate.signed(
            envelope.signature, envelope.signed, envelope.version, self._clock.now()
        )

    async def conclude(self, callback: RawCallback) -> None:
        """Confirm a subscription. Raises NotNow while SNS does not answer."""
        envelope = read_envelope(callback.body)
        allowed = self._allowed(envelope)
        if envelope is None or allowed is None:
            return
        match envelope.kind:
            case Kind.SUBSCRIPTION:
                await self._confirm(envelope, allowed)
            case Kind.UNSUBSCRIPTION:
                log.warning(
                    "SNS has ended a subscription: no more events come from this topic",
                    relay=self.account,
                    topic=envelope.topic_arn,
                )
            case Kind.NOTIFICATION:
                pass

    async def close(self) -> None:
        await self._certificates.close()
        await self._web.close()

    def parse(self, callback: RawCallback) -> tuple[list[Event], list[Unplaced]]:
        """What a message says; a queue may hold SES's events bare, without SNS's envelope. Raises
        InvalidInput when it is neither."""
        entry = fields(callback.body)
        if entry is None:
            raise InvalidInput("the body is not a JSON object")
        if "mail" in entry:
            return read_event(entry, callback.body, self.account, self._clock.now())
        kind = text(entry, "Type", 40)
        if kind not in set(Kind):
            raise InvalidInput("the body is neither SNS's envelope nor an event of SES's")
        return self._read(entry) if kind == Kind.NOTIFICATION else ([], [])

    def _read(self, envelope: Entry) -> tuple[list[Event], list[Unplaced]]:
        message = envelope.get("Message")
        if not isinstance(message, str):
            raise InvalidInput("the envelope has no message")
        if message.strip() == _GREETING:
            return [], []
        raw = message.encode("utf-8", "replace")
        entry = fields(raw)
        if entry is None:
            return [], [Unplaced(None, EventType.UNKNOWN, None, raw)]
        return read_event(entry, raw, self.account, self._clock.now())

    def _allowed(self, envelope: Envelope | None) -> AllowedTopic | None:
        """The topic of a message that is worth a look: ours, timely, with a certificate from the right
        place."""
        if envelope is None:
            return None
        allowed = self._topics.get(envelope.topic_arn)
        age = self._clock.now() - envelope.sent_at
        if allowed is None or not -MAX_AHEAD <= age <= MAX_AGE:
            return None
        return allowed if certificate_file(envelope.certificate_url, allowed.base_url) else None

    async def _confirm(self, envelope: Envelope, allowed: AllowedTopic) -> None:
        trouble = await self._web.confirm(allowed, envelope.token)
        if trouble is not None:
            log.warning(
                "SNS did not take the confirmation of a subscription",
                relay=self.account,
                topic=allowed.topic.arn,
                reason=trouble,
            )
            raise NotNow("SNS did not take the confirmation of its subscription.", retry_after=20.0)
        log.info("subscribed to a topic of SNS", relay=self.account, topic=allowed.topic.arn)

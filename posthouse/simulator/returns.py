"""What is mailed back about a mail that plain SMTP took: its late bounce, and its reader's complaint."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from posthouse.clock import Clock
from posthouse.simulator.chance import between, draw
from posthouse.simulator.events import EventKind, MailRef
from posthouse.simulator.postman import Parcel, Postman
from posthouse.simulator.providers import Delays, Mailbox, Verdict
from posthouse.simulator.returned import Returned, bounce, complaint


@dataclass(frozen=True, slots=True)
class Sent:
    """One mail to one recipient. `return_path`: its envelope sender."""

    ref: MailRef
    mailbox: Mailbox
    return_path: str
    head: bytes


@dataclass(frozen=True, slots=True)
class Returns:
    """The way back of one account."""

    postman: Postman
    feedback_address: str  # "": nobody is told of complaints
    delays: Delays
    clock: Clock
    seed: int
    time_scale: float

    def mail_taken(self, sent: Sent, complaints: Sequence[float]) -> None:
        """`complaints`: when (event loop's clock) each is made."""
        if not sent.return_path:
            return
        fate = sent.mailbox.fate
        if fate is not None and fate.verdict is Verdict.ASYNC:
            share = draw(self.seed, "bounced later", sent.mailbox.address.lower())
            after = between(self.delays.bounced_later, share) * self.time_scale
            self.postman.send(
                Parcel(
                    EventKind.HARD,
                    sent.ref,
                    sent.return_path,
                    lambda: bounce(self._told(sent), self.seed),
                ),
                after,
            )
        if self.feedback_address:
            for at in complaints:
                self._complain(sent, at)

    def _complain(self, sent: Sent, at: float) -> None:
        parcel = Parcel(
            EventKind.COMPLAINT,
            sent.ref,
            self.feedback_address,
            lambda: complaint(self._told(sent), self.feedback_address),
        )
        self.postman.send(parcel, max(0.0, at - asyncio.get_running_loop().time()))

    def _told(self, sent: Sent) -> Returned:
        return Returned(
            sent.mailbox.address, sent.return_path, sent.head, sent.mailbox.reply, self.clock.now()
        )

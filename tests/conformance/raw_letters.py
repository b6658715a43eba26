"""A law's letter for adapters that take raw mail, and one that they must refuse."""

from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

from fake_http_relay import NOW
from relay_laws import Letter

from posthouse.domain.ids import JobId, uuid7
from posthouse.domain.message import Addressing, Mailbox, RawMail, Rendered
from posthouse.domain.stream import Stream

JOB = JobId(uuid7(int(NOW.timestamp() * 1000), 7))


def raw(letter: Letter, attempt: int = 1) -> RawMail:
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(letter.sender_name, "hello", "shop.example")
    message["To"] = "undisclosed:;"
    message["Subject"] = letter.subject
    for name, value in letter.headers:
        message[name] = value
    message.set_content(letter.text)
    return RawMail(JOB, attempt, "bounce@shop.example", letter.recipient, message.as_bytes(), False)


def rendered() -> Rendered:
    return Rendered(
        job_id=JOB, attempt=1, stream=Stream.TRANSACTIONAL, return_path="b@shop.example",
        recipient="ann@example.org", sender=Mailbox("hello@shop.example"), addressing=Addressing(),
        subject="x", text="x", html=None, message_id="<1@shop.example>", date=NOW,
    )  # fmt: skip

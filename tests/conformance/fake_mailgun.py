"""A fake messages.mime: what it answers to the faults of the laws."""

import json
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from email.utils import format_datetime

from fake_http_relay import NOW, THROTTLE_HINT, FakeHttpRelay, Request, http
from relay_laws import Fault, Received

DOMAIN = "mail.shop.example"


class FakeMailgun(FakeHttpRelay):
    def recipients(self, request: Request) -> list[str]:
        return [form_of(request)["to"].decode()]

    def answer(self, request: Request, faults: list[Fault | None], taken: int) -> bytes:
        return answer_to(faults[0], taken)


def form_of(request: Request) -> dict[str, bytes]:
    """The fields of a multipart form (RFC 7578), each once."""
    boundary = request.headers["content-type"].partition("boundary=")[2].encode()
    first, *parts, last = request.body.split(b"--" + boundary)
    assert (first, last) == (b"", b"--\r\n")
    fields: dict[str, bytes] = {}
    for part in parts:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0].decode()
        assert name not in fields
        fields[name] = content.removesuffix(b"\r\n")
    return fields


def received(request: Request) -> Received:
    form = form_of(request)
    message = message_from_bytes(form["message"], policy=default)
    assert isinstance(message, EmailMessage)
    return Received(
        recipient=form["to"].decode(),
        subject=str(message["Subject"]),
        sender_name=message["From"].addresses[0].display_name,
        text=str(message.get_content()).replace("\r\n", "\n"),
        headers={name.lower(): str(value) for name, value in message.items()},
    )


def said(message: str, message_id: str | None = None) -> bytes:
    return json.dumps({"message": message, **({"id": message_id} if message_id else {})}).encode()


def answer_to(fault: Fault | None, number: int) -> bytes:
    match fault:
        case None:
            return http("200 OK", said("Queued. Thank you.", f"<{number}@{DOMAIN}>"))
        case Fault.REJECT_RECIPIENT:
            return http(
                "400 Bad Request",
                said("'to' parameter is not a valid address. please check documentation"),
            )
        case Fault.REJECT_MESSAGE:
            return http("413 Request Entity Too Large", b"<html>too large</html>")
        case Fault.TROUBLE:
            return http("503 Service Unavailable", b"upstream is away")
        case Fault.THROTTLE:
            when = format_datetime(NOW + timedelta(seconds=THROTTLE_HINT)).replace("+0000", "UTC")
            words = (
                f"Domain {DOMAIN} is not allowed to send: recipient limit exceeded, try again after {when}"
            )
            return http("420 Too Fast", said(words))
        case Fault.BAD_CREDENTIALS:
            return http("401 Unauthorized", b"Forbidden")
        case _:
            raise AssertionError(fault)

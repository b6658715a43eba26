"""A fake SES: SendEmail and GetAccount, with every fault the laws of the relay port know."""

import base64
import json
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from fake_http_relay import THROTTLE_HINT, FakeHttpRelay, Request, http
from relay_laws import Fault, Received

UNLIMITED = {"SendQuota": {"Max24HourSend": -1, "MaxSendRate": -1, "SentLast24Hours": 0}}


class FakeSes(FakeHttpRelay):
    def __init__(self, account: object = UNLIMITED) -> None:
        """`account`: what GetAccount answers."""
        super().__init__()
        self._account = account

    def recipients(self, request: Request) -> list[str]:
        return [recipient_of(request)]

    def answer(self, request: Request, faults: list[Fault | None], taken: int) -> bytes:
        return answer_to(faults[0], taken, recipient_of(request))

    def aside(self, request: Request) -> bytes | None:
        if request.path != "/v2/email/account":
            return None
        return http("200 OK", json.dumps(self._account).encode())


def recipient_of(request: Request) -> str:
    return str(request.json["Destination"]["ToAddresses"][0])


def message_of(request: Request) -> EmailMessage:
    data = base64.b64decode(request.json["Content"]["Raw"]["Data"])
    message = message_from_bytes(data, policy=default)
    assert isinstance(message, EmailMessage)
    return message


def received(request: Request) -> Received:
    message = message_of(request)
    return Received(
        recipient=recipient_of(request),
        subject=str(message["Subject"]),
        sender_name=message["From"].addresses[0].display_name,
        text=str(message.get_content()).replace("\r\n", "\n"),
        headers={name.lower(): str(value) for name, value in message.items()},
    )


def error(name: str, message: str) -> tuple[bytes, str]:
    """Body and header of an error, as rest-json says it."""
    return json.dumps({"message": message}).encode(), f"x-amzn-ErrorType: {name}:http://internal.amazon.com/"


def answer_to(fault: Fault | None, number: int, recipient: str) -> bytes:
    match fault:
        case None:
            return http("200 OK", json.dumps({"MessageId": f"0100-{number}-000000"}).encode())
        case Fault.REJECT_RECIPIENT:
            message = f"Invalid email address<{recipient}>."
            return http("400 Bad Request", *error("BadRequestException", message))
        case Fault.REJECT_MESSAGE:
            return http("400 Bad Request", *error("BadRequestException", "Message length is too long."))
        case Fault.TROUBLE:
            return http("503 Service Unavailable", b"upstream is away")
        case Fault.THROTTLE:
            body, kind = error("TooManyRequestsException", "Maximum sending rate exceeded.")
            return http("429 Too Many Requests", body, f"{kind}\r\nRetry-After: {THROTTLE_HINT:.0f}")
        case Fault.BAD_CREDENTIALS:
            return http("403 Forbidden", *error("SignatureDoesNotMatch", "The signature does not match."))
        case _:
            raise AssertionError(fault)

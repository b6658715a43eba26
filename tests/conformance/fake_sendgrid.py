"""A fake mail/send: what it answers to the faults of the laws."""

import json

from fake_http_relay import NOW, THROTTLE_HINT, FakeHttpRelay, Request, http
from relay_laws import Fault


class FakeSendGrid(FakeHttpRelay):
    def recipients(self, request: Request) -> list[str]:
        return [request.json["personalizations"][0]["to"][0]["email"]]

    def answer(self, request: Request, faults: list[Fault | None], taken: int) -> bytes:
        return answer_to(faults[0], taken)


def answer_to(fault: Fault | None, number: int) -> bytes:
    match fault:
        case None:
            return http("202 Accepted", headers=f"X-Message-Id: id-{number}")
        case Fault.REJECT_RECIPIENT:
            return http(
                "400 Bad Request", error("Does not contain a valid address.", "personalizations.0.to")
            )
        case Fault.REJECT_MESSAGE:
            return http("413 Payload Too Large", error("The request is too large", None))
        case Fault.TROUBLE:
            return http("503 Service Unavailable", b"upstream is away")
        case Fault.THROTTLE:
            reset = int(NOW.timestamp() + THROTTLE_HINT)
            return http(
                "429 Too Many Requests", error("too many requests", None), f"X-RateLimit-Reset: {reset}"
            )
        case Fault.BAD_CREDENTIALS:
            return http("401 Unauthorized", error("The provided authorization grant is invalid", None))
        case _:
            raise AssertionError(fault)


def error(message: str, field: str | None) -> bytes:
    return json.dumps({"errors": [{"message": message, "field": field, "help": None}]}).encode()

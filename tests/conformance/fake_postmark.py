"""A fake /email and /email/batch: what they answer to the faults of the laws."""

import json

from fake_http_relay import THROTTLE_HINT, FakeHttpRelay, Request, http
from relay_laws import Fault
from yarl import URL

INACTIVE = (
    "You tried to send to recipient(s) that have been marked as inactive. Found inactive addresses: "
    "gone@example.org. Inactive recipients are ones that have generated a hard bounce, a spam complaint, or "
    "a manual suppression."
)
#: What is said of one mail, whether it came alone or in a batch.
ABOUT_A_MAIL = {
    Fault.REJECT_RECIPIENT: (300, "Invalid 'To' address: 'gone@example.org'."),
    Fault.REJECT_MESSAGE: (411, "Attachment file type not allowed."),
    Fault.TROUBLE: (100, "The Postmark API is offline for maintenance."),
}


STATUS = {None: "200 OK", Fault.TROUBLE: "503 Service Unavailable"}


class FakePostmark(FakeHttpRelay):
    batch_answer: bytes | None = None  # to every batch, instead of its own

    def __init__(self) -> None:
        super().__init__()
        self.records: list[dict[str, object]] = []  # what its search has
        self.listed: dict[str, tuple[str, str]] = {}  # reason and origin, by address

    def aside(self, request: Request) -> bytes | None:
        """The suppression list, and the outbound search by job and message stream."""
        asked = URL(request.path)
        if asked.path == "/message-streams/letters/suppressions/dump":
            return http("200 OK", self._dump())
        if asked.path != "/messages/outbound":
            return None
        if "count" not in asked.query or "offset" not in asked.query:
            return http("422 Unprocessable Entity", refusal(700, "Parameter 'count' is required."))
        found = [record for record in self.records if _is_asked_for(record, asked)]
        return http("200 OK", search(found[: int(asked.query["count"])], len(found)))

    def _dump(self) -> bytes:
        """All of it, as if the filter were none."""
        entries = [
            {"EmailAddress": address, "SuppressionReason": reason, "Origin": origin}
            for address, (reason, origin) in self.listed.items()
        ]
        return json.dumps({"Suppressions": entries}).encode()

    def recipients(self, request: Request) -> list[str]:
        return [mail["To"].rpartition("<")[2].rstrip(">") for mail in mails(request)]

    def answer(self, request: Request, faults: list[Fault | None], taken: int) -> bytes:
        if Fault.THROTTLE in faults:
            hint = f"Retry-After: {THROTTLE_HINT:.0f}"
            return http("429 Too Many Requests", refusal(429, "Rate limit exceeded."), hint)
        if Fault.BAD_CREDENTIALS in faults:
            return http("401 Unauthorized", refusal(10, "No valid token."))
        first = taken - len(faults) + 1
        said = [item(fault, first + number) for number, fault in enumerate(faults)]
        if isinstance(request.json, list):
            return self.batch_answer or http("200 OK", json.dumps(said).encode())
        return http(STATUS.get(faults[0], "422 Unprocessable Entity"), json.dumps(said[0]).encode())


def _is_asked_for(record: dict[str, object], asked: URL) -> bool:
    carried = record["Metadata"]
    assert isinstance(carried, dict)
    wanted = {
        key.removeprefix("metadata_"): value
        for key, value in asked.query.items()
        if key.startswith("metadata_")
    }
    in_stream = record["MessageStream"] == asked.query.get("messagestream", "outbound")
    return in_stream and all(carried.get(key) == value for key, value in wanted.items())


def search(messages: list[dict[str, object]], total: int) -> bytes:
    return json.dumps({"TotalCount": total, "Messages": messages}).encode()


def record(message_id: str, job: str, attempt: str, stream: str = "letters") -> dict[str, object]:
    """A mail as the outbound search shows it."""
    return {
        "MessageID": message_id,
        "MessageStream": stream,
        "Status": "Sent",
        "ReceivedAt": "2026-03-01T00:00:00.1234567-05:00",
        "Recipients": ["ann@example.org"],
        "Metadata": {"posthouse_job": job, "posthouse_attempt": attempt},
    }


def mails(request: Request) -> list[dict[str, str]]:
    body = request.json
    return body if isinstance(body, list) else [body]


def item(fault: Fault | None, number: int) -> dict[str, object]:
    if fault is None:
        return taken_as(number)
    code, message = ABOUT_A_MAIL[fault]
    return {"ErrorCode": code, "Message": message}


def taken_as(number: int) -> dict[str, object]:
    return {
        "To": "ann@example.org",
        "SubmittedAt": "2026-03-01T00:00:00.1234567-05:00",
        "MessageID": message_id(number),
        "ErrorCode": 0,
        "Message": "OK",
    }


def message_id(number: int) -> str:
    return f"00000000-aaaa-4bbb-8ccc-{number:012d}"


def refusal(code: int, message: str) -> bytes:
    return json.dumps({"ErrorCode": code, "Message": message}).encode()

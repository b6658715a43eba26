"""Postmark's outbound search: what a server sent, by metadata and stream, some seconds behind.

https://postmarkapp.com/developer/api/messages-api
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from posthouse.simulator.postmark_events import stamp
from posthouse.simulator.postmark_schema import RefusedError

_MOST = 500
_DEEPEST = 10_000
_METADATA = "metadata_"


@dataclass(frozen=True, slots=True)
class Sent:
    """`shown_at`: Unix time from which the search has it."""

    message_id: str
    stream: str
    sender: str
    subject: str
    recipients: tuple[str, ...]
    metadata: Mapping[str, str]
    sent_at: float
    shown_at: float


class OutboundSearch:
    """The newest mails of this run."""

    def __init__(self, remembered: int) -> None:
        self._sent: deque[Sent] = deque()
        self._by_metadata: dict[tuple[str, str], list[Sent]] = {}
        self._remembered = remembered

    def add(self, sent: Sent) -> None:
        self._sent.append(sent)
        for pair in sent.metadata.items():
            self._by_metadata.setdefault(pair, []).append(sent)
        if len(self._sent) > self._remembered:
            self._forget(self._sent.popleft())

    def find(self, query: Mapping[str, str], now: float) -> dict[str, object]:
        """The answer to a search. Raises RefusedError."""
        count, offset = _number(query, "count"), _number(query, "offset")
        if count > _MOST or count + offset > _DEEPEST:
            raise RefusedError(700, "Count + Offset cannot exceed 10,000, and count 500.")
        wanted = [
            (key.removeprefix(_METADATA), value) for key, value in query.items() if key.startswith(_METADATA)
        ]
        among = self._by_metadata.get(wanted[0], []) if wanted else self._sent
        stream = query.get("messagestream", "outbound")
        recipient = query.get("recipient", "").lower()
        found = [
            sent
            for sent in among
            if sent.shown_at <= now
            and sent.stream == stream
            and all(sent.metadata.get(key) == value for key, value in wanted)
            and (not recipient or recipient in map(str.lower, sent.recipients))
        ]
        found.reverse()
        return {
            "TotalCount": len(found),
            "Messages": [_shown(sent) for sent in found[offset : offset + count]],
        }

    def _forget(self, sent: Sent) -> None:
        for pair in sent.metadata.items():
            left = [one for one in self._by_metadata[pair] if one is not sent]
            if left:
                self._by_metadata[pair] = left
            else:
                del self._by_metadata[pair]


def _number(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, "")
    if not text.isdecimal() or len(text) > 9:
        raise RefusedError(700, f"Parameter '{name}' is required and must be an integer.")
    return int(text)


def _shown(sent: Sent) -> dict[str, object]:
    return {
        "Tag": "",
        "MessageID": sent.message_id,
        "To": [{"Email": address, "Name": None} for address in sent.recipients],
        "Cc": [],
        "Bcc": [],
        "Recipients": list(sent.recipients),
        "ReceivedAt": stamp(sent.sent_at),
        "From": sent.sender,
        "Subject": sent.subject,
        "Attachments": [],
        "Status": "Sent",
        "TrackOpens": False,
        "TrackLinks": "None",
        "Metadata": dict(sent.metadata),
        "MessageStream": sent.stream,
        "Sandboxed": False,
    }

"""A standard queue of SQS: at least once, in no order, and again until it is deleted.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
"""

import asyncio
from dataclasses import dataclass
from hashlib import md5
from typing import Final

import msgspec

from posthouse.simulator.events import EventLog, Stage
from posthouse.simulator.webhooks import WebhookCounts, WebhookEvent

_MOST: Final = 10
_LOOK_AGAIN: Final = 0.02  # seconds
_LONGEST_POLL: Final = 20.0


class BadQueueRequestError(Exception):
    """A call that SQS does not know. `name` as its error says it."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.message = message


@dataclass(slots=True)
class _Message:
    number: int
    event: WebhookEvent
    visible_at: float  # of the event loop's clock
    receipt: int = 0


class _Receive(msgspec.Struct, frozen=True, rename="pascal"):
    queue_url: str
    max_number_of_messages: int = 1
    wait_time_seconds: float = 0.0
    visibility_timeout: float = 30.0


class _Entry(msgspec.Struct, frozen=True, rename="pascal"):
    id: str
    receipt_handle: str


class _Delete(msgspec.Struct, frozen=True, rename="pascal"):
    queue_url: str
    entries: tuple[_Entry, ...]


class SqsQueue:
    def __init__(self, events: EventLog) -> None:
        self.counts = WebhookCounts()
        self._log = events
        self._messages: dict[int, _Message] = {}
        self._made = 0

    @property
    def pending(self) -> int:
        """Events that nobody has deleted yet."""
        return len(self._messages)

    def put(self, event: WebhookEvent, after: float) -> None:
        """Visible so many seconds from now."""
        self._made += 1
        at = asyncio.get_running_loop().time() + after
        self._messages[self._made] = _Message(self._made, event, at)

    async def call(self, action: str, body: bytes) -> dict[str, object]:
        """Raises BadQueueRequestError."""
        try:
            match action:
                case "AmazonSQS.ReceiveMessage":
                    return await self._receive(msgspec.json.decode(body, type=_Receive))
                case "AmazonSQS.DeleteMessageBatch":
                    return self._delete(msgspec.json.decode(body, type=_Delete))
                case _:
                    raise BadQueueRequestError("InvalidAction", f"{action} is not simulated")
        except msgspec.MsgspecError as error:
            raise BadQueueRequestError("SerializationException", str(error)) from error

    async def _receive(self, asked: _Receive) -> dict[str, object]:
        loop = asyncio.get_running_loop()
        until = loop.time() + min(asked.wait_time_seconds, _LONGEST_POLL)
        while True:
            found = self._visible(min(asked.max_number_of_messages, _MOST))
            if found or loop.time() >= until:
                break
            await asyncio.sleep(_LOOK_AGAIN)
        for message in found:
            message.visible_at = loop.time() + asked.visibility_timeout
            message.receipt += 1
        return {"Messages": [_shown(message) for message in found]} if found else {}

    def _visible(self, most: int) -> list[_Message]:
        now = asyncio.get_running_loop().time()
        return [message for message in self._messages.values() if message.visible_at <= now][:most]

    def _delete(self, asked: _Delete) -> dict[str, object]:
        done: list[dict[str, object]] = []
        failed: list[dict[str, object]] = []
        for entry in asked.entries:
            number, _, receipt = entry.receipt_handle.partition(".")
            message = self._messages.get(int(number)) if number.isdecimal() else None
            if message is not None and receipt != str(message.receipt):
                failed.append({"Id": entry.id, "Code": "ReceiptHandleIsInvalid", "SenderFault": True})
                continue
            if message is not None:
                self._take(message)
            done.append({"Id": entry.id})
        return {"Successful": done, "Failed": failed}

    def _take(self, message: _Message) -> None:
        """Deleted is taken: whoever deletes has stored it."""
        del self._messages[message.number]
        self.counts.events_acked += 1
        self._log.record(message.event.kind, Stage.DONE, message.event.ref)


def _shown(message: _Message) -> dict[str, object]:
    return {
        "MessageId": f"message-{message.number}",
        "ReceiptHandle": f"{message.number}.{message.receipt}",
        "MD5OfBody": md5(message.event.payload, usedforsecurity=False).hexdigest(),
        "Body": message.event.payload.decode(),
    }

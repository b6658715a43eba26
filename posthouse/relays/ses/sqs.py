"""Events from a queue of SQS, which SNS fills: no port is open, and an outage of ours loses none.

Nothing here is verified but the connection: who may put messages into the queue is decided by its access
policy (docs/relays/ses.md). A body is SNS's envelope, or the bare event where the subscription delivers raw
messages.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from posthouse.domain.errors import Misconfigured, NotNow
from posthouse.domain.ids import RelayAccount
from posthouse.net.client import Reply
from posthouse.relays.base import Fetched, RawCallback
from posthouse.relays.ses.api import AwsApi, Endpoint
from posthouse.relays.ses.replies import failure

#: The most that SQS gives at once, and the longest that it waits for the first.
_MOST: Final = 10
_WAIT: Final = 20  # seconds
#: How long what was fetched is hidden from others: much longer than storing it takes.
_HIDDEN: Final = 120  # seconds
#: What a fetch may take, and bring: ten messages of 1 MiB, as JSON.
FETCH_WITHIN: Final = _WAIT + 10.0
FETCH_BYTES: Final = 24 * 1024 * 1024
_TARGET: Final = "AmazonSQS."
#: A fetch that failed is not repeated at once.
_PAUSE: Final = 5.0


class _Message(msgspec.Struct, rename="pascal"):
    body: str = ""
    receipt_handle: str = ""


class _Received(msgspec.Struct, rename="pascal"):
    messages: list[_Message] = []


class _Failed(msgspec.Struct, rename="pascal"):
    id: str = ""
    code: str = ""


class _Deleted(msgspec.Struct, rename="pascal"):
    failed: list[_Failed] = []


_RECEIVED = msgspec.json.Decoder(_Received)
_DELETED = msgspec.json.Decoder(_Deleted)
_ENCODER = msgspec.json.Encoder()


class SqsQueue:
    """One account's queue. Owns its calls: closing closes them."""

    def __init__(self, account: RelayAccount, endpoint: Endpoint, queue_url: str, api: AwsApi) -> None:
        """`endpoint`: the queue's origin; `queue_url` as SQS shows it."""
        self.account = account
        self._endpoint = endpoint
        self._queue_url = queue_url
        self._api = api

    async def fetch(self) -> list[Fetched]:
        """Up to ten messages, after 20 s at the latest. Raises NotNow."""
        asked = {
            "QueueUrl": self._queue_url,
            "MaxNumberOfMessages": _MOST,
            "WaitTimeSeconds": _WAIT,
            "VisibilityTimeout": _HIDDEN,
        }
        try:
            received = _RECEIVED.decode(await self._call("ReceiveMessage", asked))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise NotNow("SQS's answer cannot be read.", retry_after=_PAUSE) from error
        return [
            Fetched(self._callback(message.body), message.receipt_handle)
            for message in received.messages
            if message.receipt_handle
        ]

    async def stored(self, fetched: Sequence[Fetched]) -> None:
        """Delete them. One that cannot be deleted comes again, which changes nothing. Raises NotNow."""
        entries = [{"Id": str(n), "ReceiptHandle": one.receipt} for n, one in enumerate(fetched)]
        for start in range(0, len(entries), _MOST):
            asked = {"QueueUrl": self._queue_url, "Entries": entries[start : start + _MOST]}
            answer = await self._call("DeleteMessageBatch", asked)
            try:
                failed = _DELETED.decode(answer).failed
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                failed = []
            if failed:
                raise NotNow(f"SQS did not delete a message: {failed[0].code[:100]}.", retry_after=_PAUSE)

    async def close(self) -> None:
        await self._api.close()

    def _callback(self, body: str) -> RawCallback:
        return RawCallback("ses", self.account, {}, body.encode("utf-8", "replace"))

    async def _call(self, action: str, asked: object) -> bytes:
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": _TARGET + action}
        body = _ENCODER.encode(asked)
        try:
            answer = await self._api.post(self._endpoint, self._endpoint.url, headers, body, lambda: True)
        except Misconfigured as error:
            raise NotNow(error.message, retry_after=_PAUSE) from error
        if not isinstance(answer, Reply):
            raise NotNow(f"SQS does not answer: {type(answer).__name__}.", retry_after=_PAUSE)
        if answer.status != 200:
            said = failure(answer)
            raise NotNow(
                f"SQS refuses {action}: {answer.status} {said.error} {said.message}"[:300], retry_after=_PAUSE
            )
        return answer.body

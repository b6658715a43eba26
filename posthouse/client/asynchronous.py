"""The client for programs with an event loop. Read it beside synchronous.py: they differ in their awaits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from types import TracebackType

import httpx

from posthouse.client import answers, calls
from posthouse.client.answers import Accepted, BatchAccepted, Json
from posthouse.client.calls import Call, Validation
from posthouse.client.retries import Answer, Retries
from posthouse.client.wire import TIMEOUT, answer_of, body_of, checked_url, headers_of, read


class AsyncClient:
    """`base_url` is the house's, without /v1. Every call raises ApiError (posthouse.client.errors).

    Raises ValueError for a base_url without its scheme.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key: str,
        retries: Retries | None = None,
        timeout: float = TIMEOUT,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=checked_url(base_url), headers=headers_of(key), timeout=timeout
        )
        self._retries = retries or Retries()
        self._sleep = sleep

    async def send(self, mail: Json, *, idempotency_key: str | None = None) -> Accepted:
        """Returns when the mail is stored: it will not be lost, and it will not be sent twice."""
        answer = await self._ask(calls.send(mail, idempotency_key))
        return read(answer, lambda body: answers.accepted(body, answer.replayed))

    async def send_batch(
        self,
        mails: Sequence[Json],
        *,
        validation: Validation = Validation.STRICT,
        idempotency_key: str | None = None,
    ) -> BatchAccepted:
        """Up to 500 mails, stored whole or not at all."""
        answer = await self._ask(calls.send_batch(mails, validation, idempotency_key))
        return read(answer, lambda body: answers.batch_accepted(body, answer.replayed))

    async def get(self, email_id: str) -> Json:
        """Where a mail stands, with its timeline."""
        return body_of(await self._ask(calls.get(email_id)))

    def events(self, email_id: str) -> AsyncIterator[Json]:
        """Everything that happened to a mail, oldest first."""
        return self._walk(lambda cursor: calls.events(email_id, cursor))

    def emails(self, **filters: str) -> AsyncIterator[Json]:
        """Mails, newest first; filters as GET /v1/emails has them (status, recipient, tag, ...)."""
        return self._walk(lambda cursor: calls.emails(filters, cursor))

    async def cancel(self, email_id: str) -> Json:
        """Raises Conflict when it is being sent or has ended."""
        return body_of(await self._ask(calls.cancel(email_id)))

    async def reschedule(self, email_id: str, at: datetime) -> Json:
        """`at` with its offset. Raises Conflict when it is being sent or has ended."""
        return body_of(await self._ask(calls.reschedule(email_id, at)))

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self.close()

    async def _walk(self, call: Callable[[str | None], Call]) -> AsyncIterator[Json]:
        page = read(await self._ask(call(None)), answers.page)
        for one in page.data:
            yield one
        while page.next_cursor is not None:
            page = read(await self._ask(call(page.next_cursor)), answers.page)
            for one in page.data:
                yield one

    async def _ask(self, call: Call) -> Answer:
        tried = 0
        while True:
            tried += 1
            outcome = await self._try(call)
            if isinstance(outcome, Answer) and outcome.status < 400:
                return outcome
            await self._sleep(self._retries.wait_after(outcome, tried))

    async def _try(self, call: Call) -> Answer | Exception:
        try:
            response = await self._http.request(
                call.method, call.path, json=call.body, params=dict(call.query), headers=dict(call.headers)
            )
        except httpx.TransportError as error:
            return error
        return answer_of(response)

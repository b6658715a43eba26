"""POST /v1/emails/batch: up to 500 mails in one request and one transaction."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from itertools import count
from typing import Final
from uuid import UUID

import msgspec
from litestar import Response, post
from litestar.handlers import HTTPRouteHandler

from posthouse.domain.errors import Forbidden, InvalidInput
from posthouse.intake.once import other_body, repeated
from posthouse.intake.posted import PostedEmail, fingerprint
from posthouse.intake.submission import Entry, Idempotency, Receipt, Result, Submission
from posthouse.storage.acceptance import Promise
from posthouse.storage.keys import ApiKey, KeyScope
from posthouse.web.api.body import HalfACharacter, decode, refuse_other_than_json, with_whole_characters
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.problems import ApiRequest, HttpError
from posthouse.web.api.sending import answer, found_good, idempotency_key_of, idempotency_of

MAX_EMAILS: Final = 500


class Validation(StrEnum):
    """What one bad mail does to the others: nothing is stored, or they are."""

    STRICT = "strict"
    PERMISSIVE = "permissive"


class PostedBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bare array of mails means the same."""

    emails: list[PostedEmail]


class BatchItem(msgspec.Struct, frozen=True):
    id: UUID


class BatchProblem(msgspec.Struct, frozen=True):
    """A mail that was not accepted, by its place in the request, counted from 0."""

    index: int
    message: str
    code: str
    pointer: str = ""


class BatchReceipt(msgspec.Struct, frozen=True):
    """The accepted mails in the order posted, and the others. Each id is that of GET /v1/emails/{id}."""

    data: list[BatchItem]
    errors: list[BatchProblem] = []


class _Wrapped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    emails: list[msgspec.Raw]


_read_batch = msgspec.json.Decoder(list[msgspec.Raw] | _Wrapped)
_read_mail = msgspec.json.Decoder(PostedEmail)
_read_id = msgspec.json.Decoder(BatchItem).decode


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    @post("/emails/batch", status_code=HTTPStatus.ACCEPTED)
    async def post_batch(request: ApiRequest) -> Response[bytes]:
        return await send_batch(deps, request)

    return [post_batch]


async def send_batch(deps: ApiDeps, request: ApiRequest) -> Response[bytes]:
    return answer(await _accept(deps, request))


@dataclass(frozen=True, slots=True)
class Item:
    """One mail of the batch: where it stands in the request, and its posted form or what is wrong with it."""

    pointer: str
    raw: bytes
    posted: PostedEmail | InvalidInput
    idempotency: Idempotency | None


#: What is known of a mail: it is to be stored, it was stored before, or it is refused.
_Verdict = Entry | Receipt | InvalidInput | Forbidden


async def _accept(deps: ApiDeps, request: ApiRequest) -> Receipt:
    """Who asks, what for, which of them are good, store them."""
    key = await deps.keys.authenticate(request, KeyScope.SEND)
    refuse_other_than_json(request)
    validation, whole_key = _validation(request), idempotency_key_of(request)
    async with deps.bodies.read(request) as body:
        items = items_of(body)
        whole = None if whole_key is None else Idempotency(whole_key, _digest(items, validation))
        if whole is not None:
            earlier = await deps.intake.recall(key.api_key_id, whole)
            if earlier is not None:
                return earlier
        verdicts = await _verdicts(deps, key, items)
        if validation is Validation.STRICT:
            _refuse_any(items, verdicts)
        entries = tuple(verdict for verdict in verdicts if isinstance(verdict, Entry))
        submission = Submission(key.api_key_id, entries, whole, lambda results: _answer(verdicts, results))
        return await deps.intake.accept(submission)


def _validation(request: ApiRequest) -> Validation:
    text = request.headers.get("x-batch-validation", Validation.STRICT.value).strip().lower()
    try:
        return Validation(text)
    except ValueError:
        raise HttpError(
            HTTPStatus.BAD_REQUEST,
            f"x-batch-validation is {' or '.join(Validation)}.",
            code="invalid_batch_validation",
        ) from None


def items_of(body: bytes) -> list[Item]:
    """The mails of a body, each decoded by itself. Raises InvalidInput for a body that is no batch."""
    decoded, whole = _read(body)
    raw, base = (decoded.emails, "/emails") if isinstance(decoded, _Wrapped) else (decoded, "")
    if not raw:
        raise InvalidInput("A batch has at least one mail.", code="empty_batch", pointer=base)
    if len(raw) > MAX_EMAILS:
        raise InvalidInput(
            f"A batch has at most {MAX_EMAILS} mails; this one has {len(raw)}. Send it in parts.",
            code="too_many_emails",
            pointer=base,
        )
    mails = _as_written(raw, whole, body)
    return [_item(f"{base}/{index}", mail) for index, mail in zip(count(), mails, strict=False)]


def _read(body: bytes) -> tuple[list[msgspec.Raw] | _Wrapped, bytes]:
    """The batch, and what it was read from: half a character in one mail costs the others nothing."""
    try:
        return decode(body, _read_batch), body
    except HalfACharacter:
        whole = with_whole_characters(body)
        return decode(whole, _read_batch), whole


def _as_written(mails: Iterable[msgspec.Raw], whole: bytes, body: bytes) -> Iterator[bytes]:
    """Each mail as it stands in the body, where it stands in `whole`."""
    if whole is body:
        yield from (bytes(mail) for mail in mails)
        return
    start = 0
    for read in map(bytes, mails):
        start = whole.index(read, start)
        yield body[start : start + len(read)]
        start += len(read)


def _item(pointer: str, body: bytes) -> Item:
    try:
        email = decode(body, _read_mail)
        return Item(pointer, body, email, idempotency_of(email, email.idempotency_key))
    except InvalidInput as error:
        return Item(pointer, body, error, None)


async def _verdicts(deps: ApiDeps, key: ApiKey, items: Sequence[Item]) -> list[_Verdict]:
    named = [item.idempotency.key for item in items if item.idempotency is not None]
    known = await deps.intake.promises(key.api_key_id, named) if named else {}
    now = deps.now()
    firsts: dict[str, Idempotency] = {}
    for item in items:
        if item.idempotency is not None:
            firsts.setdefault(item.idempotency.key, item.idempotency)
    return [
        other_body() if _differs(item, firsts) else await _verdict(deps, key, item, known, now)
        for item in items
    ]


def _differs(item: Item, firsts: Mapping[str, Idempotency]) -> bool:
    """From an earlier mail of the batch with the same key."""
    return item.idempotency is not None and item.idempotency != firsts[item.idempotency.key]


async def _verdict(
    deps: ApiDeps, key: ApiKey, item: Item, known: Mapping[str, Promise], now: datetime
) -> _Verdict:
    if isinstance(item.posted, InvalidInput):
        return item.posted
    if item.idempotency is not None and item.idempotency.key in known:
        return repeated(item.idempotency, known[item.idempotency.key])
    try:
        return Entry(await found_good(deps, key, item.posted, now), item.idempotency)
    except (InvalidInput, Forbidden) as error:
        return error


def _refuse_any(items: Sequence[Item], verdicts: Sequence[_Verdict]) -> None:
    """Raises the first refusal, with the pointer into the whole body."""
    for item, verdict in zip(items, verdicts, strict=True):
        if isinstance(verdict, (InvalidInput, Forbidden)):
            verdict.pointer = f"{item.pointer}{verdict.pointer}"
            raise verdict


def _answer(verdicts: Sequence[_Verdict], results: Sequence[Result]) -> bytes:
    """`results` are those of the entries among the verdicts, in order."""
    data: list[BatchItem] = []
    errors: list[BatchProblem] = []
    stored = iter(results)
    for index, verdict in enumerate(verdicts):
        result = next(stored) if isinstance(verdict, Entry) else verdict
        if isinstance(result, Receipt):
            data.append(_read_id(result.body))
        else:
            errors.append(BatchProblem(index, result.message, result.code, result.pointer))
    return msgspec.json.encode(BatchReceipt(data, errors))


def _digest(items: Sequence[Item], validation: Validation) -> bytes:
    """Of the mails in their canonical form; one that could not be read counts as it was written."""
    digest = hashlib.sha256(validation.encode())
    for item in items:
        if isinstance(item.posted, InvalidInput):
            digest.update(hashlib.sha256(item.raw).digest())
        else:
            digest.update(fingerprint(item.posted))
            digest.update(hashlib.sha256((item.posted.idempotency_key or "").encode()).digest())
    return digest.digest()

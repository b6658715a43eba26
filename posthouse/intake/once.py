"""Idempotency keys: what was promised under one is promised again, and a mail is stored once.

All keys of a group are claimed by one sorted statement, so that two processes with the same keys wait for
each other in one order. What a claim did not win is known from before; that happens seldom, and then the
answers that were written with the claim are put right in the same transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from posthouse.domain.errors import InvalidInput
from posthouse.intake.rows import Rows
from posthouse.intake.submission import Idempotency, Outcome, Receipt, Result, Submission
from posthouse.storage import acceptance
from posthouse.storage.acceptance import IdempotencyName, Promise
from posthouse.storage.db import Transaction, TransactionConflict

Promises = Mapping[IdempotencyName, Promise]


@dataclass(frozen=True, slots=True)
class Draft:
    """A request, and what its mails would become."""

    submission: Submission
    rows: tuple[Rows, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """What a request is answered, and which of its mails are new."""

    outcome: Outcome
    new: tuple[Rows, ...]


async def settle(tx: Transaction, drafts: Sequence[Draft]) -> list[Settled]:
    """Claim the keys of a group, and say what each request gets.

    Raises KeyInUse, TransactionConflict, NotNow.
    """
    wanted = {name: promise for draft in drafts for name, promise in _promises(draft).items()}
    earlier = await _claim(tx, wanted) if wanted else {}
    return [await _settle(tx, draft, wanted, earlier) for draft in drafts]


def repeated(idempotency: Idempotency, promise: Promise) -> Result:
    """What a request gets whose key is known: the answer of then, if it asks for the same."""
    if idempotency.body_hash == promise.body_hash:
        return Receipt(promise.response, replayed=True)
    return other_body()


def other_body() -> InvalidInput:
    return InvalidInput(
        "This Idempotency-Key came before with another body: use a new key for a new mail.",
        code="invalid_idempotent_request",
    )


def _promises(draft: Draft) -> dict[IdempotencyName, Promise]:
    """What each key would stand for, if all of them are free; of equal keys the first counts."""
    submission = draft.submission
    found: dict[IdempotencyName, Promise] = {}
    if submission.idempotency is not None:
        answer = submission.answer([Receipt(rows.response) for rows in draft.rows])
        found[_name(submission, submission.idempotency)] = Promise(submission.idempotency.body_hash, answer)
    for entry, rows in zip(submission.entries, draft.rows, strict=True):
        if entry.idempotency is not None:
            promise = Promise(entry.idempotency.body_hash, rows.response)
            found.setdefault(_name(submission, entry.idempotency), promise)
    return found


async def _claim(tx: Transaction, wanted: Promises) -> Promises:
    """The promises made earlier under these keys; the others now stand for what is wanted."""
    lost = sorted(wanted.keys() - await acceptance.claim_keys(tx, wanted))
    if not lost:
        return {}
    answers = await acceptance.stored_answers(tx, lost)
    if len(answers) < len(lost):
        # It was there a moment ago: its time was over, and it was cleared away in between.
        raise TransactionConflict("An idempotency key ran out at this moment; ask again.")
    return answers


async def _settle(tx: Transaction, draft: Draft, wanted: Promises, earlier: Promises) -> Settled:
    submission, own = draft.submission, draft.submission.idempotency
    known = None if own is None else earlier.get(_name(submission, own))
    if own is not None and known is not None:
        await acceptance.give_back_keys(tx, sorted(submission.names - earlier.keys()))
        return Settled(repeated(own, known), ())
    results, new = _results(draft, wanted, earlier)
    answer = submission.answer(results)
    if own is not None and len(new) < len(draft.rows):
        await acceptance.correct_answer(tx, _name(submission, own), answer)
    return Settled(Receipt(answer), tuple(new))


def _results(draft: Draft, wanted: Promises, earlier: Promises) -> tuple[list[Result], list[Rows]]:
    """What became of each mail, in order, and the rows of those that are new."""
    results: list[Result] = []
    new: list[Rows] = []
    for entry, rows in zip(draft.submission.entries, draft.rows, strict=True):
        if entry.idempotency is not None:
            name = _name(draft.submission, entry.idempotency)
            promise = earlier.get(name, wanted[name])
            if promise.response is not rows.response:
                results.append(repeated(entry.idempotency, promise))
                continue
        results.append(Receipt(rows.response))
        new.append(rows)
    return results, new


def _name(submission: Submission, idempotency: Idempotency) -> IdempotencyName:
    return IdempotencyName(submission.api_key_id, idempotency.key)

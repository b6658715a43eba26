"""What a client asks to have accepted in one request, and what it is answered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from posthouse.domain.errors import InvalidInput
from posthouse.domain.ids import ApiKeyId
from posthouse.intake.mail import NewMail
from posthouse.storage.acceptance import IdempotencyName


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The client's key, and the digest of the body it came with."""

    key: str
    body_hash: bytes


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """The answer to a request, byte for byte, and whether it was given before."""

    body: bytes
    replayed: bool = False


#: What became of one mail of a request: its answer, or what is wrong with its idempotency key.
Result: TypeAlias = Receipt | InvalidInput
#: What became of a request.
Outcome: TypeAlias = Receipt | Exception


class Entry(msgspec.Struct, frozen=True):
    """A mail that was found good. In a batch each may have an idempotency key of its own."""

    mail: NewMail
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """One request, stored whole or not at all: its mails, by whom, the key under which it may be repeated.

    `answer` makes the request's answer of its mails' results, in order.
    """

    api_key_id: ApiKeyId
    entries: tuple[Entry, ...]
    idempotency: Idempotency | None
    answer: Callable[[Sequence[Result]], bytes]

    def name_of(self, idempotency: Idempotency | None) -> IdempotencyName | None:
        return None if idempotency is None else IdempotencyName(self.api_key_id, idempotency.key)

    @property
    def names(self) -> frozenset[IdempotencyName]:
        keys = (self.idempotency, *(entry.idempotency for entry in self.entries))
        return frozenset(name for name in map(self.name_of, keys) if name is not None)


def one_mail(api_key_id: ApiKeyId, mail: NewMail, idempotency: Idempotency | None = None) -> Submission:
    """A request of one mail: its answer is the mail's."""
    return Submission(api_key_id, (Entry(mail),), idempotency, _only)


def _only(results: Sequence[Result]) -> bytes:
    (result,) = results
    if isinstance(result, InvalidInput):
        raise result
    return result.body

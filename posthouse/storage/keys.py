"""API keys: 256 random bits, shown once, stored as their SHA-256. SQL in queries/keys.sql."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType
from uuid import UUID

from posthouse.domain.address import parse_domain
from posthouse.domain.ids import RANDOM_BITS, ApiKeyId, uuid7
from posthouse.domain.stream import Stream
from posthouse.storage.db import Database

#: The prefixes let secret scanners find a key that got into a repository, and people see what it does.
LIVE_PREFIX = "ph_live_"
TEST_PREFIX = "ph_test_"
_SECRET_BYTES = 32
_FORM = re.compile(rf"(?:{LIVE_PREFIX}|{TEST_PREFIX})[A-Za-z0-9_-]{{43}}")

KeySecret = NewType("KeySecret", str)  # the whole key as the client sends it


class KeyScope(StrEnum):
    """What a key may do: accept mail; look at it; change templates, suppressions and keys."""

    SEND = "send"
    READ = "read"
    MANAGE = "manage"


ALL_SCOPES = frozenset(KeyScope)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What a key may do. `stream` None: both; `from_domains` empty: all that its streams have."""

    api_key_id: ApiKeyId
    name: str
    stream: Stream | None
    from_domains: frozenset[str]
    created_at: datetime
    revoked_at: datetime | None = None
    scopes: frozenset[KeyScope] = ALL_SCOPES
    sandbox: bool = False  # a test key: its mail never reaches a relay
    last_used_at: datetime | None = None  # to the minute


async def create(
    db: Database,
    *,
    name: str,
    stream: Stream | None,
    from_domains: Iterable[str],
    now: datetime,
    random_bytes: Callable[[int], bytes],
    scopes: frozenset[KeyScope] = ALL_SCOPES,
    sandbox: bool = False,
) -> tuple[ApiKey, KeySecret]:
    """A new key and its secret, which is not kept. `random_bytes` must be cryptographic.

    Raises InvalidAddress for what is no domain, NotNow.
    """
    prefix = TEST_PREFIX if sandbox else LIVE_PREFIX
    secret = KeySecret(
        prefix + base64.urlsafe_b64encode(random_bytes(_SECRET_BYTES)).rstrip(b"=").decode("ascii")
    )
    random = int.from_bytes(random_bytes(10)) & ((1 << RANDOM_BITS) - 1)
    key = ApiKey(
        ApiKeyId(uuid7(int(now.timestamp() * 1000), random)),
        name,
        stream,
        frozenset(map(parse_domain, from_domains)),
        now,
        scopes=scopes,
        sandbox=sandbox,
    )
    await db.execute(
        "insert_api_key",
        key.api_key_id,
        name,
        _digest(secret),
        stream,
        sorted(key.from_domains),
        now,
        sorted(scopes),
        sandbox,
    )
    return key, secret


async def list_all(db: Database) -> list[ApiKey]:
    """Every key there is or was, newest first."""
    return await db.fetch_into(_key, "api_keys")


async def page(db: Database, *, within: ApiKey, after: ApiKeyId | None, limit: int) -> list[ApiKey]:
    """Keys that may do no more than the one given, the revoked ones too, newest first; older than `after`."""
    return await db.fetch_into(_key, "api_keys_within", *_bounds(within), after, limit)


async def revoke_within(db: Database, key: ApiKeyId, *, within: ApiKey) -> bool:
    """`revoke`, for a key that may do no more than the one given."""
    return await db.execute("revoke_api_key_within", *_bounds(within), key) == 1


async def revoke(db: Database, key: ApiKeyId) -> bool:
    """Whether there was such a key to revoke. Every process refuses it within `KeyRing`'s memory."""
    return await db.execute("revoke_api_key", key) == 1


async def mark_used(db: Database, used: Mapping[ApiKeyId, datetime]) -> None:
    """When each key was used last, to the minute; what is stored never goes back."""
    if used:
        await db.execute("mark_api_keys_used", list(used), list(used.values()))


async def find(db: Database, secret: KeySecret) -> ApiKey | None:
    """The key of this secret; None when there is none or it is revoked."""
    return await db.fetch_one(_key, "valid_api_key", _digest(secret))


def read_secret(text: str) -> KeySecret | None:
    """The text as a key's secret; None when it cannot be one, which needs no database to know."""
    return KeySecret(text) if _FORM.fullmatch(text) else None


def _bounds(key: ApiKey) -> tuple[list[str], str | None, list[str], bool]:
    return sorted(key.scopes), key.stream, sorted(key.from_domains), key.sandbox


def _digest(secret: KeySecret) -> bytes:
    return hashlib.sha256(secret.encode("ascii")).digest()


def _key(
    api_key_id: UUID,
    name: str,
    stream: str | None,
    from_domains: list[str],
    created_at: datetime,
    revoked_at: datetime | None,
    scopes: list[str],
    sandbox: bool,
    last_used_at: datetime | None,
) -> ApiKey:
    return ApiKey(
        ApiKeyId(api_key_id),
        name,
        None if stream is None else Stream(stream),
        frozenset(from_domains),
        created_at,
        revoked_at,
        frozenset(map(KeyScope, scopes)),
        sandbox,
        last_used_at,
    )

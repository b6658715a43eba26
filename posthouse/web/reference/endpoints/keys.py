"""API keys that are made, looked at and ended by other keys."""

from http import HTTPStatus
from typing import Final

from posthouse.storage.keys import KeyScope
from posthouse.web.api.keys import KeyPage, NewKey, PostedKey, Revoked
from posthouse.web.reference.endpoint import CURSOR, LIMIT, Body, Endpoint, Json, Method, path

GROUP: Final = "Keys"

_ID: Final = "019ab3f0-6a10-7b52-8c3d-5e9f00aa1c42"
_KEY: Final[dict[str, Json]] = {
    "id": _ID,
    "name": "the shop's checkout",
    "environment": "live",
    "scopes": ["send"],
    "stream": "transactional",
    "from_domains": ["shop.example"],
    "created_at": "2026-11-24T10:00:00Z",
    "last_used_at": None,
    "revoked_at": None,
}

ENDPOINTS: Final = (
    Endpoint(
        Method.POST,
        "/v1/keys",
        "create_key",
        GROUP,
        "Make a key",
        Body(NewKey, {**_KEY, "key": "ph_live_..."}),
        KeyScope.MANAGE,
        "The answer holds the secret, this once: only its SHA-256 is stored. What is left out is as it is "
        "for the key that asks, and the new key may do no more than that one. Mail of a test key never "
        "reaches a relay.",
        status=HTTPStatus.CREATED,
        posts=(
            Body(
                PostedKey,
                {
                    "name": "the shop's checkout",
                    "scopes": ["send"],
                    "stream": "transactional",
                    "from_domains": ["shop.example"],
                },
            ),
        ),
    ),
    Endpoint(
        Method.GET,
        "/v1/keys",
        "list_keys",
        GROUP,
        "List keys, newest first",
        Body(KeyPage, {"data": [_KEY], "has_more": False, "next_cursor": None}),
        KeyScope.MANAGE,
        "Those that may do no more than the key that asks, the revoked ones too. `last_used_at` is to the "
        "minute.",
        parameters=(LIMIT, CURSOR),
        refusals=(HTTPStatus.UNPROCESSABLE_ENTITY,),
    ),
    Endpoint(
        Method.DELETE,
        "/v1/keys/{key_id}",
        "revoke_key",
        GROUP,
        "Revoke a key",
        Body(Revoked, {"id": _ID, "revoked": True}),
        KeyScope.MANAGE,
        "Every process refuses it within 5 seconds. There is no way back: make a new one.",
        parameters=(path("key_id", str, "The key's id, not its secret.", _ID),),
        refusals=(HTTPStatus.NOT_FOUND,),
    ),
)

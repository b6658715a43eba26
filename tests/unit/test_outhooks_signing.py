"""Signatures against the specification's example and its own package, and secrets at rest."""

import base64
import os
import re
import secrets
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from posthouse.domain.errors import Misconfigured
from posthouse.domain.ids import EndpointId, NoticeId
from posthouse.domain.webhook import notice_name, parse_notice
from posthouse.outhooks.signing import SecretBox, SigningSecret, headers_of, new_secret

ROOT = Path(__file__).parents[2]
ENDPOINT = EndpointId(UUID(int=7))
SECRET = SigningSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


def test_a_secret_is_as_the_specification_asks() -> None:
    secret = new_secret(secrets.token_bytes)
    assert secret.startswith("whsec_")
    assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64


@given(body=st.text(), notice=st.uuids(), newest_known=st.booleans())
def test_the_package_of_the_specification_takes_it(body: str, notice: UUID, newest_known: bool) -> None:
    newest = new_secret(secrets.token_bytes)
    encoded = body.encode("utf-8", "replace")
    signed = headers_of(NoticeId(notice), int(datetime.now(UTC).timestamp()), encoded, [newest, SECRET])
    Webhook(newest if newest_known else SECRET).verify(encoded, signed, json_parse=False)


@given(notice=st.uuids())
def test_names_of_messages_are_read_back(notice: UUID) -> None:
    assert parse_notice(notice_name(NoticeId(notice))) == notice


@pytest.mark.parametrize("text", ["", "msg_", "msg_x", "019ab3f17c217d049e1f2b6c00d4e8a1", "msg_\x00"])
def test_what_is_no_name_is_none(text: str) -> None:
    assert parse_notice(text) is None


def test_a_sealed_secret_is_read_with_any_key_of_the_house_and_for_its_endpoint_only() -> None:
    old, new = SecretBox([bytes(32)]), SecretBox([bytes([1]) * 32, bytes(32)])
    sealed = old.seal(ENDPOINT, SECRET)
    assert sealed.find(SECRET.encode()) == -1
    assert new.open(ENDPOINT, sealed) == SECRET
    with pytest.raises(Misconfigured, match="rotate the secret"):
        old.open(EndpointId(UUID(int=8)), sealed)
    with pytest.raises(Misconfigured):
        old.open(ENDPOINT, new.seal(ENDPOINT, SECRET))


def test_by_hand_as_the_documents_say() -> None:
    """The example of the specification, by the two lines that docs/webhooks.md gives."""
    shown = re.search(
        r"```sh\n(key=.*?)```", (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert shown is not None
    environment = {
        "SECRET": SECRET,
        "ID": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "TIMESTAMP": "1614265330",
        "BODY": '{"test": 2432232314}',
    }
    told = subprocess.run(
        ["sh", "-c", shown[1]], env={**os.environ, **environment}, capture_output=True, check=True
    )
    assert told.stdout.decode().strip() == "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

"""Settings of webhooks that would lose what is to be told are refused at the start."""

import tomllib

import pytest

from posthouse.config import DEVELOPMENT, settings_from
from posthouse.domain.errors import Misconfigured

HOUSE = DEVELOPMENT.format(folder="data")


@pytest.mark.parametrize(
    ("table", "pointer"),
    [
        ('[webhooks]\ntimeout = "0s"', "/webhooks/timeout"),
        ('[webhooks]\ntimeout = "5m"', "/webhooks/timeout"),
        ('[webhooks]\ndisable_after = "0s"', "/webhooks/disable_after"),
        ('[webhooks]\nallow_hosts = ["localhost"]', "/webhooks/allow_hosts/0"),
        ('[webhooks]\nallow_hosts = ["a:1", "https://b/"]', "/webhooks/allow_hosts/1"),
        ('[retention]\nwebhooks = "7d"', "/retention/webhooks"),
    ],
)
def test_what_is_refused(table: str, pointer: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        settings_from(tomllib.loads(f"{HOUSE}\n{table}\n"), "a test")
    assert refused.value.pointer == pointer


def test_what_is_taken() -> None:
    table = '[webhooks]\ntimeout = "15s"\nretries = ["1s"]\nallow_hosts = ["localhost:3000", "[::1]:3000"]\n'
    settings = settings_from(tomllib.loads(f"{HOUSE}\n{table}"), "a test")
    assert settings.webhooks.concurrency == 16

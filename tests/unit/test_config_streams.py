"""The two streams share nothing that one of them could spoil for the other."""

import tomllib

import pytest

from posthouse.config import DEVELOPMENT, settings_from
from posthouse.domain.errors import Misconfigured


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ('relays = ["sim-sendgrid"]', 'relays = ["sim-smtp"]'),
        ('relays = ["sim-sendgrid"]', 'relays = ["sim-sendgrid", "sim-smtp"]'),
        ('from_domains = ["news.shop.example"]', 'from_domains = ["SHOP.example"]'),
        ('tracking_url = "http://localhost:8026"', 'tracking_url = "http://127.0.0.1:8026/"'),
        ('bounce_domain = "bounce.news.shop.example"', 'bounce_domain = "Bounce.shop.example"'),
    ],
)
def test_a_configuration_whose_streams_share_anything_is_refused(ours: str, theirs: str) -> None:
    text = DEVELOPMENT.format(folder="data")
    assert ours in text
    settings_from(tomllib.loads(text), "as it is")
    with pytest.raises(Misconfigured, match="both streams have"):
        settings_from(tomllib.loads(text.replace(ours, theirs)), "shared")


def test_no_relay_account_has_the_sandboxs_name() -> None:
    text = DEVELOPMENT.format(folder="data").replace("sim-smtp", "sandbox")
    with pytest.raises(Misconfigured, match="name of test keys' sandbox"):
        settings_from(tomllib.loads(text), "a sandbox")

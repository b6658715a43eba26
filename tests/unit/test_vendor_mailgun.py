"""A Mailgun account of the configuration, with everything that is made of it."""

import random
import tomllib
from pathlib import Path

import pytest

from posthouse.app.adapters import build_inquirers, make_simulator_keys, vendor_account
from posthouse.app.doubts import doubt_rules
from posthouse.app.simulation import simulation
from posthouse.clock import SystemClock
from posthouse.config import Settings, settings_from
from posthouse.domain.errors import Misconfigured
from posthouse.domain.ids import RelayAccount
from posthouse.domain.stream import Stream

NAME = RelayAccount("mg")
STREAM = """
[streams.transactional]
relays = ["mg"]
from_domains = ["shop.example"]
tracking_url = "https://t.shop.example"
bounce_domain = "bounce.shop.example"
[streams.marketing]
relays = ["other"]
from_domains = ["news.shop.example"]
tracking_url = "https://t.news.shop.example"
bounce_domain = "bounce.news.shop.example"
[relays.other]
kind = "smtp"
host = "smtp.shop.example"
[relays.mg]
kind = "mailgun"
domain = "mail.shop.example"
"""


def configured(*lines: str) -> Settings:
    return settings_from(tomllib.loads(STREAM + "\n".join(lines)), "posthouse.toml")


def test_secrets_come_from_environment_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MG_KEY", "key-of-the-account")
    (tmp_path / "signing").write_text("hush\n")
    settings = configured(
        'api_key_env = "MG_KEY"',
        f'webhook_signing_key_file = "{tmp_path}/signing"',
        'base_url = "https://api.eu.mailgun.net"',
    )
    vendor = vendor_account(NAME, settings)
    assert (vendor.kind, vendor.server) == ("mailgun", "https://api.eu.mailgun.net")
    assert vendor.relay(SystemClock(), random.Random(0)).capabilities == vendor.capabilities
    assert vendor.reader(SystemClock()) is not None
    assert list(build_inquirers(settings, SystemClock())) == [NAME]


@pytest.mark.parametrize("heard", [True, False])
def test_silence_means_something_only_where_acceptance_is_heard(heard: bool) -> None:
    settings = configured(f"accepted_webhook = {str(heard).lower()}")
    rule = doubt_rules(settings)[Stream.TRANSACTIONAL]
    assert rule.silence_means_not_taken is heard


def test_what_is_missing_is_said_at_the_start() -> None:
    vendor = vendor_account(NAME, configured())
    with pytest.raises(Misconfigured, match="API key"):
        vendor.relay(SystemClock(), random.Random(0))
    with pytest.raises(Misconfigured, match="API key"):
        vendor.inquirer(SystemClock())
    with pytest.raises(Misconfigured, match="signing key"):
        vendor.reader(SystemClock())


def test_a_simulated_account_makes_its_own_secrets_once(tmp_path: Path) -> None:
    settings = configured(
        "simulator = true",
        'base_url = "http://127.0.0.1:4000"',
        f'api_key_file = "{tmp_path}/sim/mg.key"',
        f'webhook_signing_key_file = "{tmp_path}/sim/mg.signing"',
    )
    vendor = vendor_account(NAME, settings)
    assert vendor.lacks_simulator_keys()
    make_simulator_keys(settings)
    assert not vendor.lacks_simulator_keys()
    [side] = simulation(settings).mailgun
    make_simulator_keys(settings)
    assert simulation(settings).mailgun == (side,)
    assert side.webhook_url == "http://127.0.0.1:8025/hooks/mailgun/mg"

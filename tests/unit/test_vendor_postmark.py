"""A Postmark account of the configuration, with everything that is made of it."""

import random
import tomllib
from pathlib import Path

import pytest

from posthouse.app.adapters import build_inquirers, make_simulator_keys, vendor_account
from posthouse.app.simulation import simulation
from posthouse.clock import SystemClock
from posthouse.config import Settings, settings_from
from posthouse.domain.errors import Misconfigured
from posthouse.domain.ids import RelayAccount
from posthouse.relays.base import RawCallback

NAME = RelayAccount("pm")
STREAM = """
[streams.transactional]
relays = ["pm"]
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
[relays.pm]
kind = "postmark"
"""


def configured(*lines: str) -> Settings:
    return settings_from(tomllib.loads(STREAM + "\n".join(lines)), "posthouse.toml")


def test_secrets_come_from_environment_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PM_TOKEN", "the-token")
    (tmp_path / "hook").write_text("hush\n")
    settings = configured(
        'server_token_env = "PM_TOKEN"',
        'webhook_header = "X-Hook"',
        f'webhook_secret_file = "{tmp_path}/hook"',
    )
    vendor = vendor_account(NAME, settings)
    assert (vendor.kind, vendor.server) == ("postmark", "https://api.postmarkapp.com")
    assert vendor.relay(SystemClock(), random.Random(0)).capabilities == vendor.capabilities
    reader = vendor.reader(SystemClock())
    assert reader is not None
    assert reader.verify(RawCallback("postmark", NAME, {"x-hook": "hush"}, b"{}"))
    assert vendor.capabilities.can_be_asked
    assert list(build_inquirers(settings, SystemClock())) == [NAME]


def test_a_webhook_without_a_secret_is_refused_at_the_start() -> None:
    with pytest.raises(Misconfigured, match="signs nothing"):
        vendor_account(NAME, configured()).reader(SystemClock())
    with pytest.raises(Misconfigured, match="server token"):
        vendor_account(NAME, configured()).relay(SystemClock(), random.Random(0))


def test_a_simulated_account_makes_its_own_secrets_once(tmp_path: Path) -> None:
    settings = configured(
        "simulator = true",
        'base_url = "http://127.0.0.1:4000"',
        'message_stream = "letters"',
        f'server_token_file = "{tmp_path}/sim/pm.key"',
        'webhook_user = "posthouse"',
        f'webhook_password_file = "{tmp_path}/sim/pm.password"',
    )
    vendor = vendor_account(NAME, settings)
    assert vendor.lacks_simulator_keys()
    make_simulator_keys(settings)
    assert not vendor.lacks_simulator_keys()
    [side] = simulation(settings).postmark
    make_simulator_keys(settings)
    assert simulation(settings).postmark == (side,)
    assert (side.port, side.webhook_user) == (4000, "posthouse")
    assert side.server_token
    assert side.webhook_password
    assert side.webhook_password != side.server_token
    assert "letters" in side.streams
    assert side.webhook_url is not None
    assert side.webhook_url.endswith("/hooks/postmark/pm")
    assert (tmp_path / "sim" / "pm.key").stat().st_mode & 0o077 == 0

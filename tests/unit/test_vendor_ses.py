"""An SES account of the configuration, with everything that is made of it."""

import random
import tomllib
from pathlib import Path

import pytest

from posthouse.app.adapters import build_inquirers, build_sources, make_simulator_keys, vendor_account
from posthouse.app.doubts import doubt_rules
from posthouse.app.simulation import simulation
from posthouse.app.vendors.ses import SesVendor
from posthouse.clock import ManualClock, SystemClock
from posthouse.config import Settings, settings_from
from posthouse.domain.errors import Misconfigured
from posthouse.domain.ids import RelayAccount
from posthouse.domain.stream import Stream
from posthouse.relays.base import Handshaker

NAME = RelayAccount("ses")
ARN = "arn:aws:sns:eu-west-1:123456789012:events"
QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/events"
STREAM = """
[streams.transactional]
relays = ["ses"]
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
[relays.ses]
kind = "ses"
region = "eu-west-1"
"""


def configured(*lines: str) -> Settings:
    return settings_from(tomllib.loads(STREAM + "\n".join(lines)), "posthouse.toml")


def vendor(*lines: str) -> SesVendor:
    made = vendor_account(NAME, configured(*lines))
    assert isinstance(made, SesVendor)
    return made


async def test_keys_come_from_environment_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SES_ID", "AKIAEXAMPLE")
    for name in ("secret", "token"):
        (tmp_path / name).write_text(f"the-{name}\n")
    ses = vendor(
        'access_key_id_env = "SES_ID"',
        f'secret_access_key_file = "{tmp_path}/secret"',
        f'session_token_file = "{tmp_path}/token"',
        f'topic_arns = ["{ARN}"]',
    )
    assert (ses.kind, ses.server) == ("ses", "https://email.eu-west-1.amazonaws.com")
    found = ses.read_credentials()
    assert (found.access_key_id, found.secret_access_key, found.session_token) == (
        "AKIAEXAMPLE",
        "the-secret",
        "the-token",
    )
    assert "the-" not in repr(found)
    assert "the-" not in repr(ses)
    relay = ses.relay(SystemClock(), random.Random(0))
    assert relay.capabilities == ses.capabilities
    await relay.close()
    reader = ses.reader(SystemClock())
    assert reader is not None
    assert isinstance(reader, Handshaker)
    (tmp_path / "secret").write_text("a-new-one\n")  # as a role's agent does
    assert ses.read_credentials().secret_access_key == "a-new-one"


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ('access_key_id = "AKIAEXAMPLE"',),
        ('secret_access_key_env = "PATH"',),
        ('access_key_id = "AKIAEXAMPLE"', 'secret_access_key_env = "NO_SUCH_SECRET"'),
        ('access_key_id = "AKIAEXAMPLE"', 'secret_access_key_file = "/no/such/file"'),
    ],
)
def test_an_account_without_keys_is_refused_at_the_start(lines: tuple[str, ...]) -> None:
    with pytest.raises(Misconfigured):
        vendor(*lines).relay(SystemClock(), random.Random(0))


def test_what_is_no_topic_or_queue_is_refused_at_the_start() -> None:
    with pytest.raises(Misconfigured, match=r"relays\.ses\.topic_arns"):
        vendor('topic_arns = ["events"]').reader(SystemClock())
    with pytest.raises(Misconfigured, match=r"relays\.ses\.queue_url"):
        vendor('queue_url = "events"').source(SystemClock())
    with pytest.raises(Misconfigured, match=r"relays\.ses\.queue_url"):
        vendor('queue_url = "events"').reader(SystemClock())


@pytest.mark.parametrize(
    ("lines", "reports"),
    [((), False), ((f'topic_arns = ["{ARN}"]',), True), ((f'queue_url = "{QUEUE}"',), True)],
)
def test_silence_means_something_only_where_events_are_heard(lines: tuple[str, ...], reports: bool) -> None:
    settings = configured(*lines)
    assert vendor_account(NAME, settings).capabilities.reports_acceptance is reports
    assert doubt_rules(settings)[Stream.TRANSACTIONAL].silence_means_not_taken is reports
    assert build_inquirers(settings, SystemClock()) == {}


async def test_a_queue_is_a_source_and_nothing_else_is() -> None:
    keys = ('access_key_id = "AKIAEXAMPLE"', 'secret_access_key_env = "PATH"')
    assert build_sources(configured(*keys), SystemClock()) == []
    [source] = build_sources(configured(*keys, f'queue_url = "{QUEUE}"'), ManualClock())
    assert source.account == NAME
    await source.close()


def test_a_simulated_account_makes_its_own_keys_once(tmp_path: Path) -> None:
    settings = configured(
        "simulator = true",
        'base_url = "http://127.0.0.1:4000"',
        'access_key_id = "AKIASIMULATOR"',
        f'secret_access_key_file = "{tmp_path}/sim/ses.key"',
        f'topic_arns = ["{ARN}"]',
    )
    ses = vendor_account(NAME, settings)
    assert ses.lacks_simulator_keys()
    make_simulator_keys(settings)
    assert not ses.lacks_simulator_keys()
    [side] = simulation(settings).ses
    make_simulator_keys(settings)
    assert simulation(settings).ses == (side,)
    assert (side.port, side.topic_arn, side.queue) == (4000, ARN, False)
    assert side.webhook_url is not None
    assert side.webhook_url.endswith("/hooks/ses/ses")
    assert (tmp_path / "sim" / "ses.key").stat().st_mode & 0o077 == 0

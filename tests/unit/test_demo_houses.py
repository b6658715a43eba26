"""The demo's house for each kind of relay can be read, and everything in it is simulated."""

import tomllib
from pathlib import Path

import pytest

from posthouse.app.adapters import make_simulator_keys, vendor_account
from posthouse.app.simulation import simulation
from posthouse.cli.demo.houses import NEVER_HEARD, DemoRelay, configuration, free_ports, never_heard
from posthouse.config import settings_from
from posthouse.domain.event import EventType


@pytest.mark.parametrize("relay", [None, *DemoRelay])
def test_a_house_for_each_kind(tmp_path: Path, relay: DemoRelay | None) -> None:
    settings = settings_from(tomllib.loads(configuration(tmp_path, relay)), "demo")
    make_simulator_keys(settings)
    assert all(table.simulator for table in settings.relays.values())
    kinds = {vendor_account(account, settings).kind for account in settings.relays}
    assert kinds == ({"smtp", "sendgrid"} if relay is None else {relay.value})
    sides = simulation(settings)
    names = {side.name for side in (*sides.http_accounts, *sides.smtp)}
    assert names == set(settings.relays)
    assert len(names) == 2


def test_what_a_relay_never_tells_is_not_asked_of_its_demo() -> None:
    assert set(NEVER_HEARD) == set(DemoRelay)
    assert never_heard(None) == frozenset()
    assert EventType.SENT not in never_heard(DemoRelay.SMTP)


def test_free_ports_are_different() -> None:
    assert len(set(free_ports(8))) == 8

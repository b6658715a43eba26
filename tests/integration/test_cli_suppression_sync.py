"""`posthouse suppressions sync` with simulated relays, what `why` says then, and the processor's turn."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from cli_shell import Shell, Told, on_a_terminal
from prometheus_client import generate_latest
from simulated_lists import KEY, NAME, PostmarkHarness, postmark_lists

from posthouse.app.house import open_house
from posthouse.app.relay_lists import ListKeeper
from posthouse.cli.exits import Exit
from posthouse.config import load

HOUSE = """
[streams.transactional]
relays = ["{name}", "spare"]
from_domains = ["shop.example"]
tracking_url = "https://t.shop.example"
bounce_domain = "bounce.shop.example"
[streams.marketing]
relays = ["away"]
from_domains = ["news.shop.example"]
tracking_url = "https://t.news.shop.example"
bounce_domain = "bounce.news.shop.example"
[relays.{name}]
kind = "postmark"
base_url = "{url}"
server_token_env = "PM_TOKEN"
webhook_user = "posthouse"
webhook_password_env = "PM_HOOK"
simulator = true
[relays.spare]
kind = "smtp"
host = "127.0.0.1"
port = 1
[relays.away]
kind = "mailgun"
domain = "news.shop.example"
base_url = "http://127.0.0.1:1"
api_key_env = "PM_TOKEN"
webhook_signing_key_env = "PM_HOOK"
simulator = true
"""
ENVIRONMENT = {"PM_TOKEN": KEY, "PM_HOOK": "hush"}


@dataclass(frozen=True)
class Desk:
    shell: Shell
    relay: PostmarkHarness

    async def sync(self, *words: str) -> Told:
        return await self.shell.posthouse("suppressions", "sync", *words, **ENVIRONMENT)


@pytest.fixture
async def desk(shell: Shell, tmp_path: Path) -> AsyncIterator[Desk]:
    async with postmark_lists(tmp_path) as relay:
        (shell.folder / "posthouse.toml").write_text(HOUSE.format(name=NAME, url=relay.url))
        await relay.mail("hard-ann@gmail.sim.test")
        yield Desk(shell, relay)


def counts(told: Told, relay: str) -> dict[str, object]:
    relays = msgspec.convert(told.json()["relays"], list[dict[str, object]])
    (found,) = (one for one in relays if one["relay"] == relay)
    return found


async def test_a_list_is_tried_taken_over_and_explained(desk: Desk) -> None:
    would = await desk.sync("--relay", NAME, "--dry-run")
    assert (would.code, counts(would, NAME)["imported"]) == (Exit.OK, 1)
    why = await desk.shell.posthouse("suppressions", "why", "hard-ann@gmail.sim.test")
    assert why.json()["suppressions"] == []
    done = await desk.sync("--relay", NAME)
    assert (done.code, counts(done, NAME)["imported"], counts(done, NAME)["trouble"]) == (Exit.OK, 1, None)
    shown = " ".join(
        (await on_a_terminal(desk.shell, "suppressions", "why", "hard-ann@gmail.sim.test")).split()
    )
    assert f"On the list of relay {NAME} as BOUNCE since 20" in shown
    assert "imported 20" in shown
    again = await desk.sync("--relay", NAME)
    assert [counts(again, NAME)[change] for change in ("imported", "added_there", "removed_here")] == [
        0,
        0,
        0,
    ]


async def test_one_relay_that_is_away_keeps_no_other_from_its_turn(desk: Desk) -> None:
    told = await desk.sync()
    assert told.code == Exit.UNAVAILABLE
    assert counts(told, NAME)["imported"] == 1
    assert "did not answer" in str(counts(told, "away")["trouble"])
    assert KEY not in told.out + told.err


async def test_relays_that_are_none_or_have_no_list_are_named(desk: Desk) -> None:
    for name in ("nobody", "spare"):
        told = await desk.sync("--relay", name)
        assert told.code == Exit.NOT_FOUND
        assert name in str(told.error()["message"])


async def test_the_processor_does_it_when_it_is_due(
    desk: Desk, pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    settings = load(desk.shell.folder / "posthouse.toml", {**ENVIRONMENT, "DATABASE_URL": pg_dsn})
    async with open_house(settings) as house:
        keeper = ListKeeper(house)
        await keeper.sync_due()
        await keeper.sync_due()
        told = generate_latest(house.metrics.registry).decode()
    assert f'posthouse_suppressions_mirrored_total{{account="{NAME}",change="imported"}} 1.0' in told
    assert 'posthouse_suppression_list_trouble{account="away"} 1.0' in told
    assert f'posthouse_suppression_list_trouble{{account="{NAME}"}} 0.0' in told

"""`posthouse config check | show`: which file, what it says, what is wrong with it and where."""

import msgspec
import pytest
from cli_shell import Shell, on_a_terminal

from posthouse.cli.exits import Exit
from posthouse.config import DEVELOPMENT

GOOD = DEVELOPMENT.format(folder="data")


async def test_the_built_in_configuration_is_good(bare: Shell) -> None:
    told = await bare.posthouse("config", "check")
    assert told.code == Exit.OK, told.out
    found = told.json()
    assert (found["source"], found["good"], found["problems"]) == ("the built-in configuration", True, [])
    assert found["relays"] == {
        "sim-smtp": {"server": "127.0.0.1:8030"},
        "sim-sendgrid": {"server": "http://127.0.0.1:8031"},
    }
    assert "The configuration is good." in await on_a_terminal(bare, "config", "check")


@pytest.mark.parametrize(
    ("old", "new", "pointer"),
    [
        ("[streams.transactional]", "[house]\ncolour = 1\n[streams.transactional]", "/house/colour"),
        ("port = 8030", 'port = "x"', "/relays/sim-smtp/port"),
        ('kind = "sendgrid"\n', "", "/relays/sim-sendgrid/kind"),
        ('relays = ["sim-sendgrid"]', "relays = [5]", "/streams/marketing/relays/0"),
        ('relays = ["sim-sendgrid"]', "relays = []", "/streams/marketing/relays"),
        ('relays = ["sim-sendgrid"]', 'relays = ["none"]', "/streams/marketing/relays"),
        (
            'from_domains = ["shop.example"]',
            'from_domains = ["news.shop.example"]',
            "/streams/marketing/from_domains",
        ),
        (
            'from_domains = ["shop.example"]',
            'from_domains = ["shop example"]',
            "/streams/transactional/from_domains",
        ),
        ("[streams.transactional]", '[retention]\njobs = "1d"\n[streams.transactional]', "/retention/jobs"),
        ('tls = "none"', 'tls = "none"\nuser = "u"\npassword_env = "NOT_SET"', "/relays/sim-smtp"),
        ("simulator = true\n\n", 'user = "u"\n\n', "/relays/sim-smtp"),
        ("[streams.transactional]", "[streams", ""),
    ],
)
async def test_what_is_wrong_is_pointed_at(bare: Shell, old: str, new: str, pointer: str) -> None:
    assert old in GOOD
    (bare.folder / "posthouse.toml").write_text(GOOD.replace(old, new, 1))
    told = await bare.posthouse("config", "check")
    assert told.code == Exit.MISCONFIGURED
    found = told.json()
    assert found["source"] == str(bare.folder / "posthouse.toml")
    assert found["good"] is False
    (problem,) = msgspec.convert(found["problems"], list[dict[str, str]])
    assert problem["pointer"] == pointer
    assert problem["message"]


async def test_a_file_that_is_not_there(bare: Shell) -> None:
    told = await bare.posthouse("--config", "none.toml", "config", "check")
    assert told.code == Exit.MISCONFIGURED
    assert "none.toml" in str(told.json()["source"])


async def test_every_setting_as_it_holds_without_passwords(bare: Shell) -> None:
    url = "postgresql://posthouse:hunter2@db.example/posthouse?password=hunter3&sslmode=require"
    told = await bare.posthouse("config", "show", DATABASE_URL=url)
    assert "hunter" not in told.out
    shown = told.json()
    assert shown["database"] == {
        "url": "postgresql://posthouse:***@db.example/posthouse?password=***&sslmode=require",
        "pool_size": 8,
    }
    assert shown["lease"] == {"beat_every": "2s", "begin_within": "5s", "dead_after": "10s"}
    assert "relays.sim-smtp.kind" in await on_a_terminal(bare, "config", "show")

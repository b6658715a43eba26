"""`posthouse relays`, `posthouse webhooks decode` and `posthouse address check`, as a shell sees them."""

import base64
import json
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from cli_shell import Shell, on_a_terminal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postmark_house import TOKEN, simulated

from posthouse.app.kinds import KINDS
from posthouse.cli.exits import Exit
from posthouse.clock import SystemClock
from posthouse.config import RelaySettings
from posthouse.domain.ids import RelayAccount
from posthouse.ingest.normalize import normalize
from posthouse.relays.base import RawCallback

JOB = "0198c0de-0000-7000-8000-000000000001"
HOUSE = """
[streams.transactional]
relays = ["pm", "spare"]
from_domains = ["shop.example"]
tracking_url = "https://t.shop.example"
bounce_domain = "bounce.shop.example"
[streams.marketing]
relays = ["sendgrid"]
from_domains = ["news.shop.example"]
tracking_url = "https://t.news.shop.example"
bounce_domain = "bounce.news.shop.example"
[relays.pm]
kind = "postmark"
base_url = "http://127.0.0.1:1"
server_token_env = "PM_TOKEN"
webhook_user = "posthouse"
webhook_password_env = "PM_HOOK"
simulator = true
[relays.spare]
kind = "smtp"
host = "127.0.0.1"
port = 1
[relays.sendgrid]
kind = "sendgrid"
base_url = "http://127.0.0.1:1"
api_key_env = "SG_KEY"
webhook_key_file = "sg.pub"
simulator = true
"""
ENVIRONMENT = {"PM_TOKEN": "token-that-must-not-show", "PM_HOOK": "hush", "SG_KEY": "SG.x"}
BOUNCE = {
    "RecordType": "Bounce",
    "ID": 1,
    "Type": "HardBounce",
    "Email": "ann@example.org",
    "Details": "smtp;550 5.1.1 no such user",
    "BouncedAt": "2026-03-01T00:00:00.1234567-05:00",
    "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483",
    "Metadata": {"posthouse_job": JOB, "posthouse_attempt": "2"},
}


def lines(text: str) -> list[dict[str, object]]:
    return [msgspec.json.decode(line, type=dict[str, object]) for line in text.splitlines()]


def headers(password: str) -> str:
    pair = base64.b64encode(f"posthouse:{password}".encode()).decode()
    lines = [
        "POST /hooks/postmark/pm HTTP/1.1",
        "Content-Type: application/json",
        f"Authorization: Basic {pair}",
    ]
    return "\r\n".join([*lines, "", ""])


def test_every_kind_that_can_be_configured_is_shown() -> None:
    assert {table.__struct_config__.tag for table in get_args(RelaySettings)} <= set(KINDS)


async def test_relays_are_shown_with_what_they_can_do_and_how_they_are(bare: Shell) -> None:
    (bare.folder / "posthouse.toml").write_text(HOUSE)
    told = await bare.posthouse("relays", **ENVIRONMENT)
    assert told.code == 0
    assert "must-not-show" not in told.out + told.err
    accounts = msgspec.convert(told.json()["accounts"], list[dict[str, object]])
    assert [(one["name"], one["kind"], one["streams"]) for one in accounts] == [
        ("pm", "postmark", ["transactional"]),
        ("spare", "smtp", ["transactional"]),
        ("sendgrid", "sendgrid", ["marketing"]),
    ]
    can = msgspec.convert(accounts[0]["capabilities"], dict[str, object])
    assert (can["batch"], can["can_be_asked"], can["reports_acceptance"]) == (500, True, False)
    assert can["max_message_bytes"] == 10_000_000
    for one in accounts:
        health = msgspec.convert(one["health"], dict[str, str])
        assert health["state"] == "failed"
        assert health["todo"]
    kinds = msgspec.convert(told.json()["kinds"], list[dict[str, object]])
    assert {kind["kind"] for kind in kinds} == set(KINDS)


async def test_relays_need_not_be_asked_how_they_are(bare: Shell) -> None:
    (bare.folder / "posthouse.toml").write_text(HOUSE)
    told = await bare.posthouse("relays", "--no-check")
    assert told.code == 0
    assert [one["health"] for one in msgspec.convert(told.json()["accounts"], list[dict[str, object]])] == [
        None
    ] * 3


@pytest.mark.parametrize(("token", "state"), [(TOKEN, "ok"), ("another", "warning")])
async def test_a_relay_that_can_be_asked_is_asked_whether_it_knows_us(
    bare: Shell, tmp_path: Path, token: str, state: str
) -> None:
    async with simulated(tmp_path) as postmark:
        (bare.folder / "posthouse.toml").write_text(HOUSE.replace("http://127.0.0.1:1", postmark.url, 1))
        told = await bare.posthouse("relays", **{**ENVIRONMENT, "PM_TOKEN": token})
        first = msgspec.convert(told.json()["accounts"], list[dict[str, object]])[0]
        health = msgspec.convert(first["health"], dict[str, str])
        assert (health["state"], "401" in health["found"]) == (state, state == "warning")
        assert postmark.ledger() == []


async def test_people_see_a_table(bare: Shell) -> None:
    (bare.folder / "posthouse.toml").write_text(HOUSE)
    shown = await on_a_terminal(bare, "relays", "--no-check")
    assert "Every kind" in shown
    assert re.search(r"pm\s+postmark", shown)


async def test_a_payload_is_decoded_without_any_configuration(bare: Shell) -> None:
    told = await bare.posthouse("webhooks", "decode", "--relay", "postmark", "-", stdin=json.dumps(BOUNCE))
    assert told.code == 0, told.err
    [line] = lines(told.out)
    assert (line["type"], line["bounce"], line["verification"]) == ("bounced", "hard", "not_checked")
    assert (line["job_id"], line["attempt"], line["recipient"]) == (JOB, 2, "ann@example.org")
    assert (line["smtp_code"], line["enhanced_code"]) == (550, "5.1.1")
    assert line["account"] is None


async def test_every_entry_of_a_batch_is_a_line(bare: Shell) -> None:
    batch = [
        {"event": "delivered", "email": "a@example.org", "posthouse_job": JOB, "posthouse_attempt": "1"},
        {"event": "spamreport", "email": "b@example.org"},
        {"event": "teleported", "email": "c@example.org"},
    ]
    (bare.folder / "batch.json").write_text(json.dumps(batch))
    told = await bare.posthouse("webhooks", "decode", "--relay", "sendgrid", "batch.json")
    assert [(line["type"], line["job_id"]) for line in lines(told.out)] == [
        ("delivered", JOB),
        ("complained", None),
        ("unknown", None),
    ]


@pytest.mark.parametrize(("password", "proof"), [("hush", "verified"), ("wrong", "failed")])
async def test_headers_and_an_account_prove_or_disprove(bare: Shell, password: str, proof: str) -> None:
    (bare.folder / "posthouse.toml").write_text(HOUSE)
    (bare.folder / "body.json").write_text(json.dumps(BOUNCE))
    (bare.folder / "headers.txt").write_text(headers(password))
    words = ("webhooks", "decode", "--relay", "pm", "--headers", "headers.txt", "body.json")
    told = await bare.posthouse(*words, **ENVIRONMENT)
    assert told.code == 0, told.err
    [line] = lines(told.out)
    assert (line["account"], line["verification"]) == ("pm", proof)


async def test_without_headers_or_without_an_account_nothing_is_checked(bare: Shell) -> None:
    (bare.folder / "posthouse.toml").write_text(HOUSE)
    (bare.folder / "body.json").write_text(json.dumps(BOUNCE))
    (bare.folder / "headers.txt").write_text(headers("hush"))
    for words in (["--relay", "pm"], ["--relay", "postmark", "--headers", "headers.txt"]):
        told = await bare.posthouse("webhooks", "decode", *words, "body.json", **ENVIRONMENT)
        assert [line["verification"] for line in lines(told.out)] == ["not_checked"]


async def test_a_broken_configuration_is_no_hindrance_where_the_kind_is_enough(bare: Shell) -> None:
    (bare.folder / "posthouse.toml").write_text("[house]\ncolour = 1\n")
    decode = ("webhooks", "decode", "--relay", "postmark", "-")
    assert (await bare.posthouse(*decode, stdin=json.dumps(BOUNCE))).code == 0
    told = await bare.posthouse("webhooks", "decode", "--relay", "pm", "-", stdin=json.dumps(BOUNCE))
    assert told.code == Exit.MISCONFIGURED


@pytest.mark.parametrize(
    ("words", "stdin", "code"),
    [
        (("--relay", "postmark", "-"), "[]", Exit.USAGE),
        (("--relay", "postmark", "-"), "", Exit.USAGE),
        (("--relay", "sendgrid", "-"), "{}", Exit.USAGE),
        (("--relay", "smtp", "-"), "{}", Exit.USAGE),
        (("--relay", "pigeon", "-"), "{}", Exit.NOT_FOUND),
        (("--relay", "postmark", "nowhere.json"), "", Exit.USAGE),
        (("--relay", "postmark", "--headers", "nowhere.txt", "-"), "{}", Exit.USAGE),
        (("--relay", "postmark", "--headers", "-", "-"), "not a header", Exit.USAGE),
        (("-",), "{}", Exit.USAGE),
    ],
)
async def test_what_cannot_be_decoded_is_an_error_in_words(
    bare: Shell, words: tuple[str, ...], stdin: str, code: Exit
) -> None:
    told = await bare.posthouse("webhooks", "decode", *words, stdin=stdin)
    assert (told.code, told.out) == (code, "")
    assert told.err
    assert "Traceback" not in told.err


@given(
    kind=st.sampled_from([name for name, kind in KINDS.items() if kind.reader]), body=st.binary(max_size=200)
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_no_payload_makes_a_reader_without_an_account_raise(kind: str, body: bytes) -> None:
    make = KINDS[kind].reader
    assert make is not None
    reader = make(RelayAccount(kind), SystemClock())
    callback = RawCallback(kind, reader.account, {}, body)
    normalize(callback, reader)
    assert reader.verify(callback) is False


async def test_addresses_are_read_or_told_why_not(bare: Shell) -> None:
    good = [
        "Ann.Roe@EXAMPLE.org",
        '"Roe, Ann" <ann@b\u00fccher.example>',
        "Gr\u00fc\u00dfe@example.org",
        "\u212bngstr\u00f6m@example.org",
    ]
    told = await bare.posthouse("address", "check", *good)
    assert told.code == 0
    read = lines(told.out)
    assert [one["valid"] for one in read] == [True] * 4
    assert [one["key"] for one in read] == [
        "ann.roe@example.org",
        "ann@xn--bcher-kva.example",
        "gr\u00fc\u00dfe@example.org",
        "\u00e5ngstr\u00f6m@example.org",
    ]
    assert (read[1]["name"], read[1]["domain"]) == ("Roe, Ann", "xn--bcher-kva.example")
    assert [one["needs_smtputf8"] for one in read] == [False, False, True, True]
    assert read[0]["reserved"] is True


async def test_one_bad_address_is_an_exit_code_and_costs_the_others_nothing(bare: Shell) -> None:
    told = await bare.posthouse(
        "address", "check", "ann@shop.test", "nobody", "a@b@c", "a\nb@shop.test", "\udcff@x.org"
    )
    assert told.code == Exit.USAGE
    read = lines(told.out)
    assert [one["valid"] for one in read] == [True, False, False, False, False]
    for one in read[1:]:
        assert one["code"] == "invalid_address"
        assert one["message"]


async def test_an_address_is_looked_at_without_a_house(bare: Shell, tmp_path: Path) -> None:
    (bare.folder / "posthouse.toml").write_text("not toml at all [")
    assert (await bare.posthouse("address", "check", "ann@shop.test")).code == 0
    assert (await bare.posthouse("address", "check")).code == Exit.USAGE

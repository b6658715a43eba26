"""`posthouse webhooks`, and what `posthouse doctor` says of endpoints in trouble."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec
from cli_shell import Shell, on_a_terminal

from posthouse.cli.exits import Exit
from posthouse.domain.ids import EndpointId
from posthouse.storage import webhook_deliveries
from posthouse.storage.db import Database
from posthouse.storage.webhook_deliveries import Standing

URL = "https://app.example/hooks"


async def added(shell: Shell, *words: str) -> dict[str, object]:
    told = await shell.posthouse("webhooks", "add", URL, *words)
    assert told.code == Exit.OK, told.err
    return told.json()


async def listed(shell: Shell) -> list[dict[str, object]]:
    return msgspec.convert(
        (await shell.posthouse("webhooks", "list")).json()["data"], list[dict[str, object]]
    )


async def test_added_listed_rotated_and_removed(shell: Shell) -> None:
    made = await added(
        shell,
        *("--event", "email.bounced", "--event", "email.sent", "--stream", "marketing"),
        *("--tag", "kind=receipt", "--description", "orders", "--from-domain", "News.Shop.example"),
    )
    assert str(made["signing_secret"]).startswith("whsec_")
    (one,) = await listed(shell)
    assert (one["events"], one["stream"]) == (["email.bounced", "email.sent"], "marketing")
    assert one["from_domains"] == ["news.shop.example"]
    assert one["tags"] == [{"name": "kind", "value": "receipt"}]
    assert "signing_secret" not in one
    webhook = str(made["id"])
    rotated = (await shell.posthouse("webhooks", "rotate", webhook)).json()
    assert rotated["signing_secret"] != made["signing_secret"]
    seen = await on_a_terminal(shell, "webhooks", "list")
    assert "app.exa" in seen
    assert "well" in seen
    assert (await shell.posthouse("webhooks", "deliveries", webhook)).json() == {"data": []}
    test = (await shell.posthouse("webhooks", "test", webhook, "--event", "email.opened")).json()
    told = (await shell.posthouse("webhooks", "deliveries", webhook)).json()["data"]
    (waiting,) = msgspec.convert(told, list[dict[str, object]])
    assert (waiting["id"], waiting["type"], waiting["status"]) == (test["id"], "email.opened", "pending")
    assert str(test["id"])[:8] in await on_a_terminal(shell, "webhooks", "deliveries", webhook)
    asked = await shell.posthouse("webhooks", "redeliver", webhook, "--since", "2026-01-01")
    assert asked.code == Exit.OK
    assert (await shell.posthouse("webhooks", "remove", webhook)).code == Exit.OK
    assert await listed(shell) == []


async def test_what_is_refused(shell: Shell) -> None:
    private = await shell.posthouse("webhooks", "add", "https://10.0.0.1/")
    assert private.error()["code"] == "private_address"
    no_tag = await shell.posthouse("webhooks", "add", URL, "--tag", "receipt")
    assert "NAME=VALUE" in str(no_tag.error()["message"])
    nobody = str(UUID(int=1))
    for words in (
        ("remove",),
        ("rotate",),
        ("enable",),
        ("deliveries",),
        ("test",),
        ("redeliver", "--since", "2026-01-01"),
    ):
        told = await shell.posthouse("webhooks", words[0], nobody, *words[1:])
        assert told.error()["code"] == "not_found"
    webhook = str((await added(shell))["id"])
    for options in ((), ("--since", "2026-01-01", "--delivery", "msg_1"), ("--delivery", "x")):
        told = await shell.posthouse("webhooks", "redeliver", webhook, *options)
        assert told.error()["code"] == "validation_error"


async def test_the_doctor_names_endpoints_in_trouble_until_they_are_enabled(
    shell: Shell, database: Database
) -> None:
    webhook = EndpointId(UUID(str((await added(shell))["id"])))
    assert (await doctor(shell))["state"] == "ok"
    now = datetime.now(UTC)
    gone = Standing(webhook, succeeded=False, error="answered 410 Gone", gone="it answered 410 Gone")
    async with database.transaction() as tx:
        (disabled,) = await webhook_deliveries.record(tx, [], [gone], now, now)
    assert disabled.endpoint_id == webhook
    sick = await doctor(shell)
    assert (sick["state"], sick["found"]) == ("warning", f"{webhook} is disabled: it answered 410 Gone")
    assert (await shell.posthouse("webhooks", "redeliver", str(webhook), "--since", "2026-01-01")).error()[
        "code"
    ] == "webhook_disabled"
    assert "answered 410" in await on_a_terminal(shell, "webhooks", "list")
    assert (await shell.posthouse("webhooks", "enable", str(webhook))).code == Exit.OK
    assert (await doctor(shell))["state"] == "ok"


async def doctor(shell: Shell) -> dict[str, object]:
    checks = msgspec.convert((await shell.posthouse("doctor")).json()["checks"], list[dict[str, object]])
    (found,) = [check for check in checks if check["name"] == "webhooks"]
    return found

"""Resend's own client for Node, its base URL pointed at ours.

These tests are there only where Node is, and npm can install what the lock file names; that is found out
when tests are collected, so that there is nothing to skip.
"""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import pytest_asyncio
from api_house import ApiHouse, running_api

from posthouse.storage.db import Database

_CLIENT: Final = Path(__file__).parent / "resend_node"
_CACHE: Final = Path(__file__).parents[2] / ".posthouse" / "tests"


class Refusal(msgspec.Struct):
    name: str
    message: str
    status: int = msgspec.field(name="statusCode")


class Reply(msgspec.Struct):
    """Of the client: one of the two is null."""

    data: dict[str, object] | None
    error: Refusal | None
    headers: dict[str, str]

    @property
    def good(self) -> Mapping[str, object]:
        assert self.error is None, self.error
        assert self.data is not None
        return self.data


class Replies(msgspec.Struct):
    """Of `client.mjs`, by what was asked."""

    sent: Reply
    filed: Reply
    got: Reply
    once: Reply
    again: Reply
    scheduled: Reply
    moved_to: datetime = msgspec.field(name="movedTo")
    moved: Reply
    waiting: Reply
    cancelled: Reply
    ended: Reply
    batch: Reply
    permissive: Reply
    listed: Reply
    errors: dict[str, Reply]
    content: object = None  # of the filed one, as GET shows it


def _installed() -> Path | None:
    """The folder of the client, as the lock file has it; None where it cannot be had."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    lock = (_CLIENT / "package-lock.json").read_bytes()
    folder = _CACHE / f"resend-node-{msgspec.json.decode(lock)['packages']['node_modules/resend']['version']}"
    if folder.is_dir():
        return folder
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as made:
        draft = Path(made) / "client"
        draft.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_CLIENT / name, draft)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            subprocess.run(command, cwd=draft, check=True, capture_output=True, timeout=120)
        except (subprocess.SubprocessError, OSError):
            return None
        try:
            os.rename(draft, folder)
        except OSError:  # another process of the tests was faster
            assert folder.is_dir()
    return folder


INSTALLED: Final = _installed()

if INSTALLED is not None:

    @pytest_asyncio.fixture
    async def replies(database: Database) -> AsyncIterator[Replies]:
        async with running_api(database) as api:
            replies = await _run(api, str(INSTALLED))
            shown = await api.call("GET", f"/v1/emails/{replies.filed.good['id']}?include=content")
            replies.content = shown.json()["content"]
            yield replies

    async def test_what_it_sends_is_taken(replies: Replies) -> None:
        got = replies.got.good
        assert got["id"] == replies.sent.good["id"]
        assert {name: got[name] for name in ("object", "to", "cc", "reply_to", "tags", "from")} == {
            "object": "email",
            "to": ["jane@inbox.test"],
            "cc": ["cc@inbox.test"],
            "reply_to": ["help@shop.example"],
            "tags": [{"name": "kind", "value": "receipt"}],
            "from": "Shop <orders@shop.example>",
        }
        assert replies.once.good["id"] == replies.again.good["id"]
        assert replies.again.headers["idempotent-replayed"] == "true"
        assert (replies.listed.good["object"], replies.listed.good["has_more"]) == ("list", True)

    async def test_files_go_with_a_mail_and_none_is_fetched(replies: Replies) -> None:
        content = msgspec.convert(replies.content, dict[str, object])
        files = msgspec.convert(content["attachments"], list[dict[str, object]])
        assert [tuple(file.values()) for file in files] == [
            ("a.pdf", "application/pdf", 8, None, "attachment"),
            ("logo.png", "image/png", 3, "logo", "inline"),
        ]
        refusal = replies.errors["invalid_attachment"].error
        assert refusal is not None
        assert "server-side request forgery" in refusal.message

    async def test_batches_are_strict_or_permissive(replies: Replies) -> None:
        ids = msgspec.convert(replies.batch.good["data"], list[dict[str, str]])
        assert len({each["id"] for each in ids}) == 2
        assert len(msgspec.convert(replies.permissive.good["data"], list[object])) == 1
        errors = msgspec.convert(replies.permissive.good["errors"], list[dict[str, object]])
        assert [error["index"] for error in errors] == [0]

    async def test_what_waits_is_moved_and_cancelled(replies: Replies) -> None:
        assert replies.moved.good["id"] == replies.scheduled.good["id"]
        assert msgspec.convert(replies.waiting.good["scheduled_at"], datetime) == replies.moved_to
        assert replies.cancelled.good["object"] == "email"
        assert replies.ended.good["last_event"] == "canceled"

    async def test_what_is_refused_has_the_name_it_knows(replies: Replies) -> None:
        refusals = {name: reply.error for name, reply in replies.errors.items()}
        assert {name: (error.name, error.status) for name, error in refusals.items() if error} == {
            "missing_required_field": ("missing_required_field", 422),
            "validation_error": ("validation_error", 422),
            "strict_batch": ("validation_error", 422),
            "invalid_api_key": ("invalid_api_key", 403),
            "invalid_attachment": ("invalid_attachment", 422),
            "not_found": ("not_found", 404),
            "invalid_idempotent_request": ("invalid_idempotent_request", 422),
        }
        assert all(error.message for error in refusals.values() if error)


async def _run(api: ApiHouse, folder: str) -> Replies:
    process = await asyncio.create_subprocess_exec(
        "node", str(_CLIENT / "client.mjs"), folder, f"{api.base}/v1", api.secret,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0
    return msgspec.json.decode(output, type=Replies)

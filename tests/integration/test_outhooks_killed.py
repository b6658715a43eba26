"""kill -9 of the processor at each point of a webhook's way: every event is told, under one id."""

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from api_house import free_port, looking
from outhook_house import accepted_mails, happen
from receiver import Receiver, receiving

from posthouse.app.outhooks import webhook_desk
from posthouse.cli.docs.settings import LEAST_STREAM
from posthouse.config import load
from posthouse.domain.event import EventType
from posthouse.domain.stream import Stream
from posthouse.domain.webhook import EventName, Interest
from posthouse.keyring import load_keyring
from posthouse.outhooks.desk import Wanted
from posthouse.storage.db import Database, Wire

POINTS = ("outhooks.fanned_out", "outhooks.claimed", "outhooks.answered", "outhooks.recorded")
MAILS = 20

#: Who died in mid-delivery holds a lease of more than a minute: the test lets it pass.
_LATER = """\
-- name: leases_end
UPDATE webhook_delivery SET due_at = now() WHERE state = 'sending';
-- name: untold
SELECT (SELECT count(*) FROM webhook_event)
     + (SELECT count(*) FROM webhook_delivery WHERE state <> 'delivered');
"""


async def test_killed_at_each_point_it_tells_every_event(
    pg_dsn: str, database: Database, tmp_path: Path
) -> None:
    async with receiving() as app, looking(pg_dsn, _LATER) as eyes:
        config = configured(tmp_path, app)
        settings = load(config, {})
        desk = webhook_desk(database, settings, load_keyring(settings.data_dir, {}))
        wanted = Wanted(app.url, "", Interest(frozenset({EventName.DELIVERED})))
        _, secret = await desk.create(wanted, datetime.now(UTC))
        app.secrets.append(secret)
        hits = tmp_path / "hits"
        for point in POINTS:
            await happen(database, await accepted_mails(database, MAILS), EventType.DELIVERED)
            life = await processor(config, pg_dsn, hits, f"{point}=kill")
            assert await asyncio.wait_for(life.wait(), 60) == -signal.SIGKILL
            await eyes.execute("leases_end")
        assert [line.split()[0] for line in hits.read_text().splitlines()] == list(POINTS)

        life = await processor(config, pg_dsn, hits, "")
        await all_told(eyes)
        life.terminate()
        assert await asyncio.wait_for(life.wait(), 60) == 0
        assert len(app.told) == MAILS * len(POINTS)
        assert app.bad == 0


async def all_told(eyes: Wire) -> None:
    """And recorded, within a minute."""
    async with asyncio.timeout(60):
        while await eyes.value(int, "untold"):  # noqa: ASYNC110  # it is another process that tells
            await asyncio.sleep(0.05)


def configured(folder: Path, app: Receiver) -> Path:
    """The least of a house, whose webhooks may lead to the receiver."""
    config = folder / "posthouse.toml"
    streams = "".join(LEAST_STREAM.format(name=stream) for stream in Stream)
    config.write_text(
        f"{streams}\n[house]\nprocessor_port = {free_port()}\ndata_dir = '{folder / 'data'}'\n"
        f"[webhooks]\nallow_hosts = ['127.0.0.1:{app.port}']\nconcurrency = 4\n"
    )
    return config


async def processor(config: Path, dsn: str, hits: Path, armed: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "posthouse", "--config", str(config), "serve", "processor"),
        env={
            **os.environ,
            "DATABASE_URL": dsn,
            "POSTHOUSE_FAILPOINTS": armed,
            "POSTHOUSE_FAILPOINT_LOG": str(hits),
        },
        stderr=asyncio.subprocess.DEVNULL,
    )

"""What takes the mail: Postfix's smtp-sink where there is one, the simulator where not."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

SINK = shutil.which("smtp-sink", path="/usr/sbin:/usr/bin:/usr/local/sbin")
SOURCE = shutil.which("smtp-source", path="/usr/sbin:/usr/bin:/usr/local/sbin")


@asynccontextmanager
async def smtp_sink(port: int, folder: Path) -> AsyncIterator[str]:
    """A sink on a loopback port; its name."""
    if SINK is not None:
        drop = ["-u", "nobody"] if os.geteuid() == 0 else []  # it refuses to run as root
        command, name = [SINK, *drop, f"127.0.0.1:{port}", "1000"], "smtp-sink"
    else:
        settings = folder / "sink.toml"
        settings.write_text(
            f'folder = "{folder}/sink"\nkeep_bodies = false\n[[smtp]]\nname = "sink"\nport = {port}\n'
        )
        command, name = (
            [sys.executable, "-m", "posthouse.simulator", str(settings)],
            "simulator (no smtp-sink here)",
        )
    silent = asyncio.subprocess.DEVNULL
    sink = await asyncio.create_subprocess_exec(*command, stdout=silent, stderr=silent)
    try:
        await _until_listening(port)
        yield name
    finally:
        sink.terminate()
        await sink.wait()


async def _until_listening(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


def source_rate(port: int, mails: int, sessions: int) -> float | None:
    """Mails a second of Postfix's own smtp-source to the same sink; None where it is missing."""
    if SOURCE is None:
        return None
    began = time.perf_counter()
    subprocess.run(
        [
            SOURCE,
            "-s",
            str(sessions),
            "-m",
            str(mails),
            "-l",
            "4000",
            "-f",
            "a@news.shop.example",
            "-t",
            "b@sink.sim.test",
            f"127.0.0.1:{port}",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return mails / (time.perf_counter() - began)

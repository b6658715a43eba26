"""The examples of the README and of our client, run as they stand there."""

import asyncio
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

from api_house import running_api

from posthouse.storage.db import Database

README = Path(__file__).parents[2] / "README.md"
CLIENTS = README.parent / "docs" / "clients.md"


async def test_the_python_example_runs_and_tells_what_became_of_its_mail(
    database: Database, tmp_path: Path
) -> None:
    found = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    async with running_api(database) as house:
        (tmp_path / ".posthouse").mkdir()
        (tmp_path / ".posthouse" / "first.key").write_text(f"{house.secret}\n", encoding="ascii")
        program = found[1].replace("127.0.0.1:8025", urlsplit(house.base).netloc)
        lines = await run(program, tmp_path)
    assert [line.split()[1] for line in lines] == ["accepted"]  # no worker runs here


async def test_the_example_of_our_client_runs(database: Database, tmp_path: Path) -> None:
    section = CLIENTS.read_text(encoding="utf-8").partition("## Our own client for Python")[2]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    async with running_api(database) as house:
        program = found[1].replace("127.0.0.1:8025", urlsplit(house.base).netloc)
        program = program.replace("ph_live_...", house.secret).replace("inbox.example", "inbox.test")
        lines = await run(program, tmp_path)
    assert [line.split()[1] for line in lines] == ["accepted"]


async def run(program: str, folder: Path) -> list[str]:
    """What a program writes, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-c", program),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, trouble = await process.communicate()
    assert process.returncode == 0, trouble.decode()
    return told.decode().splitlines()

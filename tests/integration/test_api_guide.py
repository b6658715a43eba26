"""docs/api-guide.md: its commands and its program, run from top to bottom against a real house."""

import re
import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from api_house import running_api
from test_docs_examples import run

from posthouse.storage.db import Database

GUIDE = Path(__file__).parents[2] / "docs" / "api-guide.md"
_BLOCK = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)
#: The one command of the guide that is there to be refused.
_REFUSED = '"to": "not an address", "subject": "Hello"'


def blocks(language: str) -> list[str]:
    return [text for name, text in _BLOCK.findall(GUIDE.read_text(encoding="utf-8")) if name == language]


def commands(base: str, key: str) -> Iterator[Sequence[str]]:
    """Every curl of the guide as its words, with what its shell would have put in."""
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    for block in blocks("sh"):
        text = block.replace("$API", f"{base}/v1").replace("$KEY", key).replace("TOMORROW", tomorrow)
        for line in text.replace("\\\n", " ").split("\ncurl"):
            if "http" in line and not line.startswith("API="):
                yield shlex.split(line.removeprefix("curl"))


async def asked(session: aiohttp.ClientSession, words: Sequence[str]) -> tuple[int, str]:
    """What curl does with these words: a GET, or a POST where there is data."""
    url, options = words[0], list(zip(words[1::2], words[2::2], strict=True))
    headers = dict(value.split(": ", 1) for name, value in options if name == "-H")
    data = next((value for name, value in options if name == "-d"), None)
    assert {name for name, _ in options} <= {"-H", "-d"}
    request = session.request("GET" if data is None else "POST", url, headers=headers, data=data)
    async with request as response:
        return response.status, await response.text()


async def test_every_command_of_the_guide_is_answered_as_it_says(database: Database) -> None:
    async with running_api(database) as house, aiohttp.ClientSession() as session:
        done = 0
        for words in commands(house.base, house.secret):
            status, said = await asked(session, words)
            refused = any(_REFUSED in word for word in words)
            assert status == 422 if refused else status < 300, (words, said)
            done += 1
    assert done == 12


async def test_the_program_of_the_guide_runs(database: Database, tmp_path: Path) -> None:
    async with running_api(database) as house, aiohttp.ClientSession() as session:
        for words in commands(house.base, house.secret):
            await asked(session, words)  # what the program finds there
        (tmp_path / ".posthouse").mkdir()
        (tmp_path / ".posthouse" / "first.key").write_text(f"{house.secret}\n", encoding="ascii")
        program = "\n".join(blocks("python")).replace("127.0.0.1:8025", urlsplit(house.base).netloc)
        lines = await run(program, tmp_path)
    assert any(line.startswith("Receipt for Ann") for line in lines)
    assert lines[-1].startswith("[('/to', 'Write one address")

"""fuzz: schemathesis asks the API all that its document allows, and much that it does not; none is a 5xx."""

import asyncio
import os
import re
import sys
from pathlib import Path

import aiohttp

from bench.house import BY_SMTP, PORTS, bench_house, make_key, ports
from bench.latency import until_ready
from bench.seed import make_template

#: Of each operation and phase; about 50,000 requests in all.
MAX_EXAMPLES = 2200
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
ROOT = Path(__file__).parents[1]
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
_GENERATED = re.compile(r"(\d+) generated")


async def bench() -> list[dict[str, object]]:
    async with bench_house(BY_SMTP, ports(*PORTS)) as house:
        await make_template(house.db)
        key = await make_key(house.db)
        url = f"http://{house.settings.house.host}:{house.settings.house.api_port}"
        async with house.roles(("api",)), aiohttp.ClientSession() as session:
            await until_ready(session, url)
            code, output = await fuzz(url, key, MAX_EXAMPLES)
    print(output, file=sys.stderr)
    found = _GENERATED.search(output)
    return [{"bench": "fuzz", "requests": int(found[1]) if found else 0, "failed": code != 0}]


async def fuzz(url: str, key: str, max_examples: int, *, seed: int | None = None) -> tuple[int, str]:
    """schemathesis against a running API: its exit code, and what it says. `seed` None: another each time."""
    process = await asyncio.create_subprocess_exec(
        str(SCHEMATHESIS),
        "--no-color",
        "run",
        f"{url}/openapi.json",
        f"--header=Authorization: Bearer {key}",
        f"--max-examples={max_examples}",
        f"--checks={','.join(CHECKS)}",
        "--generation-database=none",
        *([] if seed is None else [f"--seed={seed}"]),
        env={**os.environ, "SCHEMATHESIS_HOOKS": "bench.fuzz_hooks"},
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()

"""Load by Debian's wrk, which costs a tenth of what a client in Python does."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

WRK = shutil.which("wrk")


async def run_wrk(
    script: Path, url: str, arguments: Sequence[str], *, connections: int, seconds: int
) -> dict[str, object]:
    """wrk's own account of a run. Raises RuntimeError when it did not get to its end."""
    assert WRK is not None
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script), url]
    process = await asyncio.create_subprocess_exec(
        WRK, *options, "--", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    line = next((line for line in output.decode().splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise RuntimeError(f"wrk ended with exit code {process.returncode}: {output.decode()}")
    found: dict[str, object] = json.loads(line.removeprefix("RESULT "))
    return found

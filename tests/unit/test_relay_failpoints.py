"""The named points of a hand-over over HTTP lie where they say: before the first byte, after the yes."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, sys
sys.path.insert(0, "tests/conformance")
from relay_laws import Letter, open_gate
from test_relay_{module} import {harness}

async def main():
    async with {harness}() as harness:
        relay = harness.relay()
        [outcome] = await relay.send_many([harness.mail(Letter())], open_gate)
        await relay.close()
        print(type(outcome).__name__, harness.begun(), len(harness.received()))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("module", "harness"),
    [
        ("mailgun", "MailgunHarness"),
        ("postmark", "PostmarkHarness"),
        ("sendgrid", "SendGridHarness"),
        ("ses", "SesHarness"),
    ],
)
@pytest.mark.parametrize(
    ("place", "seen"),
    [
        ("mid_body", b"OutcomeUnknown 0 0\n"),
        ("accepted", b"OutcomeUnknown 1 1\n"),
        ("never", b"Accepted 1 1\n"),
    ],
)
async def test_a_point_is_hit_in_its_place(
    tmp_path: Path, module: str, harness: str, place: str, seen: bytes
) -> None:
    """In a process of its own, since points are armed by the environment at the start."""
    hits = tmp_path / "hits"
    program = PROGRAM.format(module=module, harness=harness)
    armed = {
        **os.environ,
        "POSTHOUSE_FAILPOINTS": f"relay.{module}.{place}=raise",
        "POSTHOUSE_FAILPOINT_LOG": str(hits),
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env=armed, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await child.communicate()
    assert said == seen
    assert hits.exists() == (place != "never")

"""The named points of a hand-over to SendGrid lie where they say: before the first byte, after the 202."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, sys
sys.path.insert(0, "tests/conformance")
from test_relay_sendgrid import Letter, SendGridHarness, open_gate, rendered

async def main():
    async with SendGridHarness() as harness:
        relay = harness.relay()
        [outcome] = await relay.send_many([rendered(Letter())], open_gate)
        await relay.close()
        print(type(outcome).__name__, harness.begun(), len(harness.received()))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("point", "seen"),
    [
        ("relay.sendgrid.mid_body", b"OutcomeUnknown 0 0\n"),
        ("relay.sendgrid.accepted", b"OutcomeUnknown 1 1\n"),
        ("relay.sendgrid.never", b"Accepted 1 1\n"),
    ],
)
async def test_a_point_is_hit_in_its_place(tmp_path: Path, point: str, seen: bytes) -> None:
    """In a process of its own, since points are armed by the environment at the start."""
    hits = tmp_path / "hits"
    armed = {
        **os.environ,
        "POSTHOUSE_FAILPOINTS": f"{point}=raise",
        "POSTHOUSE_FAILPOINT_LOG": str(hits),
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, env=armed, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await child.communicate()
    assert said == seen
    assert hits.exists() == (point != "relay.sendgrid.never")

"""What kills did to the mail they touched: checked, and written to kill-report.json."""

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from house_config import SLOTS
from house_under_test import House, Told

from posthouse.domain.stream import Stream

REPORT = Path(__file__).parents[2] / "kill-report.json"


@dataclass(frozen=True, slots=True)
class Kill:
    """A line of the report."""

    bus: str
    point: str
    role: str
    hit: bool
    lost: int
    duplicates: int
    unknown: int


@contextmanager
def reporting(bus: str) -> Iterator[list[Kill]]:
    """The lines of one bus, written at the end; those of the other stay."""
    kills: list[Kill] = []
    yield kills
    with _alone():
        _write(bus, kills)


@contextmanager
def _alone() -> Iterator[None]:
    """The buses are tested at the same time, each by a process of its own."""
    with REPORT.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(bus: str, kills: Sequence[Kill]) -> None:
    written = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else []
    others = [line for line in written if line.get("bus") != bus]
    lines = sorted([*others, *map(asdict, kills)], key=lambda line: str(line["bus"]), reverse=True)
    text = ",\n".join(json.dumps(line) for line in lines)
    REPORT.write_text(f"[\n{text}\n]\n", encoding="utf-8")


async def verdict_of(
    house: House, at: tuple[str, str], tag: str, streams: Sequence[Stream], bus: str = "postgresql"
) -> Kill:
    """Settled, and the three ledgers of the whole house agree. `at`: the role and the point."""
    await house.settled()
    await house.assert_clean()
    told = [await house.told_of(tag, stream) for stream in streams]
    for stream, ours in zip(streams, told, strict=True):
        refuse_silent_repeats(stream, ours)
    lost = sum(1 for t in told for job_id in t.stories if not t.arrivals.get(job_id))
    assert lost == 0
    role, point = at
    duplicates, unknown = sum(t.duplicates for t in told), sum(len(t.unknown) for t in told)
    return Kill(bus, point, role, True, lost, duplicates, unknown)


def refuse_silent_repeats(stream: Stream, told: Told) -> None:
    assert told.repeated <= told.unknown
    match stream:
        case Stream.TRANSACTIONAL:
            assert told.duplicates <= SLOTS
        case Stream.MARKETING:
            # This relay reports each mail it takes: what it took is known before anything is repeated.
            assert told.duplicates == 0

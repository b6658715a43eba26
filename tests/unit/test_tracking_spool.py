import stat
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.domain.event import Event, EventType, Origin
from posthouse.domain.ids import EventId, JobId
from posthouse.web.spool import Spool

NOW = datetime(2026, 3, 4, 5, 6, 7, 891, tzinfo=UTC)


def event(number: int, url: str | None = "https://shop.example/a?b=c") -> Event:
    return Event(
        JobId(UUID(int=1)),
        EventId(UUID(int=number)),
        0,
        EventType.CLICKED,
        Origin.READER,
        NOW,
        url=url,
        user_agent="Mozilla/5.0 \N{SNOWMAN}",
        machine=True,
        raw=b"\x00\xff",
    )


def take(spool: Spool) -> list[Event]:
    """Everything, as the recorder reads it."""
    taken: list[Event] = []
    while (segment := spool.oldest()) is not None:
        taken += segment.events
        spool.remove(segment)
    return taken


def test_what_goes_in_comes_out_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=1_000_000, segment_bytes=1_000)
    events = [event(n) for n in range(50)]
    assert spool.append(events[:20]) == 0
    assert spool.append(events[20:]) == 0
    assert len(list((tmp_path / "spool").iterdir())) > 3
    assert take(spool) == events
    assert list((tmp_path / "spool").iterdir()) == []
    assert spool.oldest() is None


def test_a_new_process_finds_what_the_old_one_left(tmp_path: Path) -> None:
    old = Spool(tmp_path, max_bytes=1_000_000)
    old.append([event(1)])
    old.close()
    new = Spool(tmp_path, max_bytes=1_000_000)
    new.append([event(2)])
    assert take(new) == [event(1), event(2)]


def test_a_segment_is_there_until_it_is_removed(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=1_000_000)
    spool.append([event(1)])
    first = spool.oldest()
    assert first == spool.oldest()
    assert first is not None
    spool.remove(first)
    spool.remove(first)
    assert spool.oldest() is None


def test_what_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    writer, reader = Spool(tmp_path, max_bytes=1_000_000), Spool(tmp_path, max_bytes=1_000_000)
    writer.append([event(1)])
    assert reader.oldest() is None
    reader.append([event(2)])
    assert take(reader) == [event(2)]
    writer.close()
    assert take(reader) == [event(1)]


def test_no_room_is_reported_and_what_was_kept_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=2_000)
    dropped = spool.append([event(n) for n in range(100)])
    kept = take(spool)
    assert 0 < len(kept) == 100 - dropped
    assert kept == [event(n) for n in range(len(kept))]
    assert spool.append([event(1)]) == 0  # there is room again


def test_a_disk_that_refuses_is_no_exception(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    spool = Spool(in_the_way / "spool", max_bytes=1_000)
    assert spool.append([event(1), event(2)]) == 2


def test_nobody_else_may_read_the_links_in_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=1_000_000)
    spool.append([event(1)])
    (file,) = (tmp_path / "spool").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.binary(max_size=50))
def test_a_corrupt_tail_costs_only_itself(cut: int, rubbish: bytes) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        spool = Spool(folder, max_bytes=1_000_000)
        spool.append([event(n) for n in range(3)])
        spool.close()
        (file,) = folder.iterdir()
        whole = file.read_bytes()
        last_line = whole.rindex(b"\n", 0, -1) + 1
        file.write_bytes(whole[: max(last_line, len(whole) - cut)] + rubbish)
        segment = spool.oldest()
    assert segment is not None
    assert segment.events[:2] == (event(0), event(1))
    assert segment.torn <= rubbish.count(b"\n") + rubbish.count(b"\r") + 1


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_file_can_be_read(content: bytes) -> None:
    with TemporaryDirectory() as name:
        (Path(name) / "000000000001.events.jsonl").write_bytes(content)
        segment = Spool(Path(name), max_bytes=1_000).oldest()
    if not content:
        assert segment is None
    else:
        assert segment is not None
        assert segment.events == ()

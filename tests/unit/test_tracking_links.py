import stat
from pathlib import Path

from posthouse.domain.ids import LinkHash
from posthouse.web.links import LinkCache


def link(number: int) -> tuple[LinkHash, str]:
    return LinkHash(number.to_bytes(16)), f"https://shop.example/{number}?\N{SNOWMAN}"


def filled(path: Path, numbers: range, max_bytes: int = 1_000_000) -> LinkCache:
    cache = LinkCache(path, max_bytes=max_bytes)
    cache.load()
    for number in numbers:
        cache.put(*link(number))
    cache.save()
    return cache


def test_a_link_is_known_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "data" / "links.jsonl"
    filled(path, range(3))
    again = LinkCache(path, max_bytes=1_000_000)
    again.load()
    assert [again.get(link(n)[0]) for n in range(4)] == [link(0)[1], link(1)[1], link(2)[1], None]


def test_only_new_links_are_written(tmp_path: Path) -> None:
    path = tmp_path / "links.jsonl"
    cache = filled(path, range(3))
    size = path.stat().st_size
    cache.put(*link(1))
    cache.save()
    assert path.stat().st_size == size


def test_memory_is_bounded_and_keeps_what_was_asked_for(tmp_path: Path) -> None:
    cache = LinkCache(tmp_path / "links.jsonl", max_bytes=2_500)
    for number in range(10):
        cache.put(*link(number))
    assert cache.get(link(0)[0]) is not None
    for number in range(10, 18):
        cache.put(*link(number))
        assert cache.get(link(0)[0]) is not None
    assert len(cache) < 12
    assert cache.get(link(1)[0]) is None


def test_a_link_larger_than_the_bound_is_not_kept(tmp_path: Path) -> None:
    cache = LinkCache(tmp_path / "links.jsonl", max_bytes=500)
    cache.put(LinkHash(b"x" * 16), "https://shop.example/" + "x" * 1000)
    assert len(cache) == 0


def test_the_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "links.jsonl"
    bound = 3_000
    for start in range(0, 400, 10):
        filled(path, range(start, start + 10), bound)
        assert path.stat().st_size <= 2 * bound + 1_000
    again = LinkCache(path, max_bytes=bound)
    again.load()
    assert again.get(link(399)[0]) == link(399)[1]


def test_what_cannot_be_read_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "links.jsonl"
    filled(path, range(2))
    path.write_bytes(path.read_bytes()[:-5])  # cut off by a crash
    filled(path, range(2, 3))
    path.write_bytes(path.read_bytes() + b"\n\xff\xfe\n{}\n[1]\n\n[\x00")
    again = LinkCache(path, max_bytes=1_000_000)
    again.load()
    assert [again.get(link(n)[0]) is not None for n in range(3)] == [True, False, True]


def test_a_disk_that_refuses_costs_only_the_file(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    cache = filled(in_the_way / "links.jsonl", range(2))
    assert cache.get(link(1)[0]) == link(1)[1]


def test_nobody_else_may_read_links(tmp_path: Path) -> None:
    path = tmp_path / "links.jsonl"
    filled(path, range(2))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    filled(path, range(2, 100), 3_000)  # written anew
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_running_saves_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "links.jsonl"
    async with LinkCache(path, max_bytes=1_000_000).running() as cache:
        cache.put(*link(7))
    async with LinkCache(path, max_bytes=1_000_000).running() as again:
        assert again.get(link(7)[0]) == link(7)[1]

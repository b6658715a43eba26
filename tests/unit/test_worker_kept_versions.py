"""What a worker keeps of templates: the latest used versions, within bounds."""

from posthouse.domain.ids import TemplateId, TemplateKey
from posthouse.domain.template import TemplateVersion
from posthouse.worker.kept_versions import KeptVersions


def version(template: int, number: int, size: int = 100) -> TemplateVersion:
    return TemplateVersion(TemplateId(template), TemplateKey("t"), number, "", "x" * size, None)


def keys(*versions: TemplateVersion) -> set[tuple[TemplateId, int]]:
    return {(one.template_id, one.version) for one in versions}


def test_what_was_kept_is_found_and_nothing_else() -> None:
    kept = KeptVersions()
    one, other = version(1, 1), version(1, 2)
    kept.keep([one])
    assert kept.among(keys(one, other)) == {(TemplateId(1), 1): one}


def test_the_longest_unused_goes_first() -> None:
    kept = KeptVersions(most=250)
    first, second, third = version(1, 1), version(2, 1), version(3, 1)
    kept.keep([first, second])
    kept.among(keys(first))
    kept.keep([third])
    assert set(kept.among(keys(first, second, third))) == keys(first, third)


def test_one_that_is_larger_than_all_room_is_kept_alone() -> None:
    kept = KeptVersions(most=250)
    small, huge = version(1, 1), version(2, 1, size=1000)
    kept.keep([small, huge])
    assert set(kept.among(keys(small, huge))) == keys(huge)
    kept.keep([small])
    assert set(kept.among(keys(small, huge))) == keys(small)


def test_one_that_is_kept_twice_counts_once() -> None:
    kept = KeptVersions(most=250)
    one, other = version(1, 1), version(2, 1)
    for _ in range(5):
        kept.keep([one])
    kept.keep([other])
    assert set(kept.among(keys(one, other))) == keys(one, other)

"""Template versions that were used lately. One never changes, so what is kept is never stale."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from posthouse.domain.ids import TemplateId
from posthouse.domain.template import TemplateVersion

#: Characters of template text that a process keeps; the rest is asked for again.
KEPT: Final = 16_000_000

Key = tuple[TemplateId, int]


class KeptVersions:
    """By template and number, the latest used ones; the most recent is kept whatever its size."""

    def __init__(self, most: int = KEPT) -> None:
        self._most = most
        self._size = 0
        self._versions: OrderedDict[Key, TemplateVersion] = OrderedDict()

    def among(self, wanted: Iterable[Key]) -> dict[Key, TemplateVersion]:
        """Those of the wanted ones that are kept."""
        found = {key: self._versions[key] for key in wanted if key in self._versions}
        for key in found:
            self._versions.move_to_end(key)
        return found

    def keep(self, versions: Iterable[TemplateVersion]) -> None:
        for version in versions:
            key = (version.template_id, version.version)
            self._drop(key)
            self._versions[key] = version
            self._size += _size(version)
        while self._size > self._most and len(self._versions) > 1:
            self._drop(next(iter(self._versions)))

    def _drop(self, key: Key) -> None:
        version = self._versions.pop(key, None)
        if version is not None:
            self._size -= _size(version)


def _size(version: TemplateVersion) -> int:
    return len(version.subject) + len(version.html or "") + len(version.text or "")

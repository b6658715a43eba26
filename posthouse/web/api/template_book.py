"""What acceptance must know of a template: which one it is, and what it cannot do without."""

from collections import OrderedDict
from dataclasses import dataclass

from posthouse.clock import Clock
from posthouse.compose.render import undeclared
from posthouse.domain.errors import InvalidInput
from posthouse.domain.ids import TemplateKey
from posthouse.intake.mail import KnownTemplate
from posthouse.intake.plain_json import check_text
from posthouse.intake.posted import ChosenTemplate
from posthouse.storage import templates
from posthouse.storage.db import Database

#: Seconds. Rendering looks for itself: this only makes a new version's variables asked for a little later.
MEMORY = 1.0
_MAX_TEMPLATES = 1000

_Name = tuple[TemplateKey, int | None]


@dataclass(frozen=True, slots=True)
class _Remembered:
    template: KnownTemplate
    asked_at: float


class TemplateBook:
    """Templates that mails have named lately."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: OrderedDict[_Name, _Remembered] = OrderedDict()

    async def find(self, posted: ChosenTemplate) -> KnownTemplate:
        """The template that a mail names, as it is published now. Raises InvalidInput, NotNow."""
        if posted.name is None:
            raise InvalidInput(
                "Name a template by its key.", code="missing_required_field", pointer="/template/key"
            )
        check_text(posted.name, "/template/key")
        name = TemplateKey(posted.name), posted.version
        now = self._clock.monotonic()
        remembered = self._known.get(name)
        if remembered is not None and now - remembered.asked_at < MEMORY:
            return remembered.template
        template = await self._look_up(*name)
        self._known[name] = _Remembered(template, now)
        self._known.move_to_end(name)
        if len(self._known) > _MAX_TEMPLATES:
            self._known.popitem(last=False)
        return template

    async def _look_up(self, key: TemplateKey, version: int | None) -> KnownTemplate:
        found = await templates.usable(self._database, key, version)
        if found is None:
            which = "published version" if version is None else f"published version {version}"
            raise InvalidInput(
                f"There is no {which} of a template {key!r}.",
                code="template_not_found",
                pointer="/template/key",
            )
        if found.archived:
            raise InvalidInput(
                f"The template {key!r} is archived: name another one, or take it back into use with "
                f"POST /v1/templates/{key}/unarchive.",
                code="template_archived",
                pointer="/template/key",
            )
        return KnownTemplate(found.version.template_id, frozenset(undeclared(found.version)))

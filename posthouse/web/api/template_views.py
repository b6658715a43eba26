"""/v1/templates as they are read: lists, one template, its versions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter

from posthouse.domain.ids import TemplateId, TemplateKey
from posthouse.domain.template import Variable, VersionState
from posthouse.intake.plain_json import check_text
from posthouse.storage import templates
from posthouse.storage.keys import KeyScope
from posthouse.storage.templates import StoredVersion, Template, TemplateOrder, TemplatePlace, VersionSummary
from posthouse.web.api.cursor import from_cursor, to_cursor
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.problems import ApiRequest

SHOWN_VERSIONS = 20  # of one template, where their number is not asked for
_MAX_NUMBER = 2**31 - 1

_PageSize = Annotated[int, QueryParameter(ge=1, le=100)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=_MAX_NUMBER)]


class VersionSummaryView(msgspec.Struct, frozen=True):
    """A version without its bodies."""

    version: int
    state: VersionState
    subject: str
    has_html: bool
    has_text: bool
    variables: list[Variable]
    tracking: bool
    created_at: datetime
    published_at: datetime | None


class VersionView(msgspec.Struct, frozen=True):
    version: int
    state: VersionState
    subject: str
    html: str | None
    text: str | None
    variables: list[Variable]
    tracking: bool
    created_at: datetime
    published_at: datetime | None


class TemplateView(msgspec.Struct, frozen=True):
    """`published_version` is what mail that names no version is made from; null: none yet. `archived_at` set:
    no new mail may name it."""

    key: str
    name: str
    created_at: datetime
    archived_at: datetime | None
    latest_version: int
    published_version: int | None


class TemplateDetails(TemplateView, frozen=True):
    """With the newest versions, newest first."""

    versions: list[VersionSummaryView]


class TemplatePage(msgspec.Struct, frozen=True):
    data: list[TemplateView]
    has_more: bool
    next_cursor: str | None


class VersionPage(msgspec.Struct, frozen=True):
    """Newest first."""

    data: list[VersionSummaryView]
    has_more: bool
    next_cursor: str | None


class _After(msgspec.Struct, frozen=True):
    id: _Number
    key: str


class _Before(msgspec.Struct, frozen=True):
    version: _Number


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    @get("/templates")
    async def list_templates(
        request: ApiRequest,
        limit: _PageSize = 50,
        cursor: FromQuery[str | None] = None,
        order: FromQuery[TemplateOrder] = TemplateOrder.NEWEST,
        archived: FromQuery[bool] = False,
    ) -> TemplatePage:
        await deps.keys.authenticate(request, KeyScope.READ)
        after = None if cursor is None else place_at(cursor)
        found = await templates.page(
            deps.database, order=order, after=after, archived=archived, limit=limit + 1
        )
        return page_view(found, limit)

    @get("/templates/{key:str}")
    async def get_template(request: ApiRequest, key: FromPath[str]) -> TemplateDetails:
        await deps.keys.authenticate(request, KeyScope.READ)
        template = await templates.get(deps.database, template_key(key))
        found = await templates.versions(
            deps.database, template.template_id, before=None, limit=SHOWN_VERSIONS
        )
        return details_view(template, found)

    @get("/templates/{key:str}/versions")
    async def list_versions(
        request: ApiRequest,
        key: FromPath[str],
        limit: _PageSize = 50,
        cursor: FromQuery[str | None] = None,
    ) -> VersionPage:
        await deps.keys.authenticate(request, KeyScope.READ)
        before = None if cursor is None else from_cursor(cursor, _Before).version
        template = await templates.get(deps.database, template_key(key))
        found = await templates.versions(deps.database, template.template_id, before=before, limit=limit + 1)
        shown, has_more = found[:limit], len(found) > limit
        end = to_cursor(_Before(shown[-1].version)) if has_more else None
        return VersionPage([_summary(version) for version in shown], has_more, end)

    @get("/templates/{key:str}/versions/{version:int}")
    async def get_version(request: ApiRequest, key: FromPath[str], version: FromPath[int]) -> VersionView:
        await deps.keys.authenticate(request, KeyScope.READ)
        template = await templates.get(deps.database, template_key(key))
        return version_view(await templates.version(deps.database, template, version_number(version)))

    return [list_templates, get_template, list_versions, get_version]


def template_key(text: str) -> TemplateKey:
    """A key as it stands in a path. Raises InvalidInput for what no database can look up."""
    check_text(text, "")
    return TemplateKey(text)


def version_number(number: int) -> int:
    """The number of a version in a path; one that is out of range is of no version."""
    return min(max(number, 0), _MAX_NUMBER)


def template_view(template: Template) -> TemplateView:
    return TemplateView(
        key=template.key,
        name=template.name,
        created_at=template.created_at,
        archived_at=template.archived_at,
        latest_version=template.latest_version,
        published_version=template.published_version,
    )


def details_view(template: Template, newest: Sequence[VersionSummary]) -> TemplateDetails:
    view = template_view(template)
    return TemplateDetails(**msgspec.structs.asdict(view), versions=[_summary(one) for one in newest])


def page_view(found: Sequence[Template], limit: int) -> TemplatePage:
    """The first `limit` of what was found; one more tells that there are more."""
    shown, has_more = found[:limit], len(found) > limit
    end = to_cursor(_After(shown[-1].template_id, shown[-1].key)) if has_more else None
    return TemplatePage([template_view(template) for template in shown], has_more, end)


def place_at(cursor: str) -> TemplatePlace:
    """Raises InvalidInput."""
    after = from_cursor(cursor, _After)
    check_text(after.key, "")
    return TemplatePlace(TemplateId(after.id), TemplateKey(after.key))


def _state(published_at: datetime | None) -> VersionState:
    return VersionState.DRAFT if published_at is None else VersionState.PUBLISHED


def _summary(version: VersionSummary) -> VersionSummaryView:
    return VersionSummaryView(
        version=version.version,
        state=_state(version.published_at),
        subject=version.subject,
        has_html=version.has_html,
        has_text=version.has_text,
        variables=list(version.variables),
        tracking=version.tracked,
        created_at=version.created_at,
        published_at=version.published_at,
    )


def version_view(version: StoredVersion) -> VersionView:
    return VersionView(
        version=version.version,
        state=_state(version.published_at),
        subject=version.subject,
        html=version.html,
        text=version.text,
        variables=list(version.variables),
        tracking=version.tracked,
        created_at=version.created_at,
        published_at=version.published_at,
    )

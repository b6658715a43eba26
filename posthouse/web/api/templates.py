"""/v1/templates: create, add a version, publish, archive."""

from http import HTTPStatus
from typing import Annotated

import msgspec
from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from posthouse.compose.render import check_template
from posthouse.domain.errors import InvalidInput
from posthouse.domain.ids import TemplateKey
from posthouse.domain.template import Variable, VersionState
from posthouse.intake.plain_json import check_text
from posthouse.storage import templates
from posthouse.storage.keys import KeyScope
from posthouse.storage.templates import NewVersion
from posthouse.web.api.body import decode, refuse_other_than_json
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.problems import ApiRequest
from posthouse.web.api.template_views import TemplateView, template_key, template_view, version_number

_Key = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9_.-]{0,99}\Z")]
_VariableName = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z_][A-Za-z0-9_]{0,99}\Z")]
_ShortText = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class PostedVariable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One with a default need not be given."""

    name: _VariableName
    required: bool | None = None
    default: str | int | float | bool | None = None


class PostedVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    subject: Annotated[str, msgspec.Meta(max_length=10_000)]
    html: str | None = None
    text: str | None = None
    variables: Annotated[list[PostedVariable], msgspec.Meta(max_length=500)] = []
    tracking: bool = True
    publish: bool = False


class PostedTemplate(PostedVersion, frozen=True, forbid_unknown_fields=True, kw_only=True):
    key: _Key
    name: _ShortText | None = None


class VersionReceipt(msgspec.Struct, frozen=True):
    key: str
    version: int
    state: VersionState


_template_decoder = msgspec.json.Decoder(PostedTemplate)
_version_decoder = msgspec.json.Decoder(PostedVersion)


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    @post("/templates", status_code=HTTPStatus.CREATED)
    async def post_template(request: ApiRequest) -> VersionReceipt:
        await deps.keys.authenticate(request, KeyScope.MANAGE)
        refuse_other_than_json(request)
        async with deps.bodies.read(request) as body:
            posted = decode(body, _template_decoder)
            key, name = TemplateKey(posted.key), posted.name or posted.key
            check_text(name, "/name")
            version = await templates.create(deps.database, key, name, new_version(posted), deps.now())
        return _receipt(key, version, published=posted.publish)

    @post("/templates/{key:str}/versions", status_code=HTTPStatus.CREATED)
    async def post_version(request: ApiRequest, key: FromPath[str]) -> VersionReceipt:
        await deps.keys.authenticate(request, KeyScope.MANAGE)
        refuse_other_than_json(request)
        async with deps.bodies.read(request) as body:
            posted = decode(body, _version_decoder)
            new = new_version(posted)
            version = await templates.add_version(deps.database, template_key(key), new, deps.now())
        return _receipt(key, version, published=posted.publish)

    @post("/templates/{key:str}/versions/{version:int}/publish", status_code=HTTPStatus.OK)
    async def publish(request: ApiRequest, key: FromPath[str], version: FromPath[int]) -> VersionReceipt:
        await deps.keys.authenticate(request, KeyScope.MANAGE)
        number = version_number(version)
        await templates.publish(deps.database, template_key(key), number, deps.now())
        return _receipt(key, number, published=True)

    @post("/templates/{key:str}/archive", status_code=HTTPStatus.OK)
    async def archive(request: ApiRequest, key: FromPath[str]) -> TemplateView:
        await deps.keys.authenticate(request, KeyScope.MANAGE)
        known = template_key(key)
        await templates.archive(deps.database, known, deps.now())
        return template_view(await templates.get(deps.database, known))

    @post("/templates/{key:str}/unarchive", status_code=HTTPStatus.OK)
    async def unarchive(request: ApiRequest, key: FromPath[str]) -> TemplateView:
        await deps.keys.authenticate(request, KeyScope.MANAGE)
        known = template_key(key)
        await templates.unarchive(deps.database, known)
        return template_view(await templates.get(deps.database, known))

    return [post_template, post_version, publish, archive, unarchive]


def new_version(posted: PostedVersion) -> NewVersion:
    """Raises InvalidInput for what no mail could be made of."""
    for pointer, source in (("/subject", posted.subject), ("/html", posted.html), ("/text", posted.text)):
        if source is not None:
            check_text(source, pointer)
    check_template(posted.subject, posted.html, posted.text)
    return NewVersion(
        subject=posted.subject,
        html=posted.html,
        text=posted.text,
        variables=declared_variables(posted.variables, "/variables"),
        tracked=posted.tracking,
        published=posted.publish,
    )


def declared_variables(posted: list[PostedVariable], pointer: str) -> tuple[Variable, ...]:
    """Raises InvalidInput."""
    names = [variable.name for variable in posted]
    if len(set(names)) < len(names):
        raise InvalidInput("Each variable is declared once.", pointer=pointer)
    for i, variable in enumerate(posted):
        if isinstance(variable.default, str):
            check_text(variable.default, f"{pointer}/{i}/default")
    return tuple(
        Variable(v.name, v.default is None if v.required is None else v.required, v.default) for v in posted
    )


def _receipt(key: str, version: int, *, published: bool) -> VersionReceipt:
    return VersionReceipt(key, version, VersionState.PUBLISHED if published else VersionState.DRAFT)

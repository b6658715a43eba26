"""/v1/templates: a stored version, or what an editor has not stored yet, as the mail that it would become."""

import itertools
from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated

import msgspec
from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from posthouse.compose.lint import Finding
from posthouse.compose.preview import Preview, Wanted, preview, preview_once
from posthouse.compose.render import check_template
from posthouse.domain.address import parse_mailbox
from posthouse.domain.errors import InvalidAddress
from posthouse.domain.ids import TemplateId, TemplateKey
from posthouse.domain.message import Mailbox
from posthouse.domain.stream import Stream
from posthouse.domain.template import TemplateVersion
from posthouse.intake.plain_json import check_json, check_text, read_object
from posthouse.storage import templates
from posthouse.storage.db import Database
from posthouse.storage.keys import ApiKey, KeyScope
from posthouse.web.api.body import decode, refuse_other_than_json
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.problems import ApiRequest
from posthouse.web.api.template_views import template_key
from posthouse.web.api.templates import PostedVariable, declared_variables

NOBODY = Mailbox("reader@example.com")
_MAX_BODY = 1_000_000  # characters of one part of what is not stored: a mail holds no more HTML
_NOT_STORED = TemplateId(0)  # stored templates begin with 1

_Part = Annotated[str, msgspec.Meta(max_length=_MAX_BODY)]
_Number = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


_Values = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]


def _no_values() -> msgspec.Raw:
    return msgspec.Raw(b"{}")


class PostedRender(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`version` left out: the published one, or the newest draft where none is published. `stream` left out:
    the key's, or transactional."""

    version: _Number | None = None
    variables: _Values = msgspec.field(default_factory=_no_values)
    stream: Stream | None = None
    to: str | None = None


class PostedDraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A template that is not stored; `declared` are its declarations, `variables` the values."""

    subject: Annotated[str, msgspec.Meta(max_length=10_000)]
    html: _Part | None = None
    text: _Part | None = None
    declared: Annotated[list[PostedVariable], msgspec.Meta(max_length=500)] = []
    tracking: bool = True
    variables: _Values = msgspec.field(default_factory=_no_values)
    stream: Stream | None = None
    to: str | None = None


class RenderedView(msgspec.Struct, frozen=True):
    """`size` is that of the whole message in bytes, as it goes out; `template_version` null: it is not
    stored."""

    subject: str
    html: str | None
    text: str
    size: int
    template_version: int | None
    suggested_variables: list[str]
    warnings: list[Finding]


_render_decoder = msgspec.json.Decoder(PostedRender)
_draft_decoder = msgspec.json.Decoder(PostedDraft)


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    numbers = itertools.count(1)

    @post("/templates/{key:str}/render", status_code=HTTPStatus.OK)
    async def render_stored(request: ApiRequest, key: FromPath[str]) -> RenderedView:
        api_key = await deps.keys.authenticate(request, KeyScope.READ)
        refuse_other_than_json(request)
        async with deps.bodies.read(request) as body:
            posted = decode(body, _render_decoder)
            version = await stored_version(deps.database, template_key(key), posted.version)
            wanted, now = _wanted(deps, api_key, version, posted), deps.now()
            made = await deps.composer.run(lambda composer: preview(composer, wanted, now))
        return rendered_view(made, version.version)

    @post("/templates/render", status_code=HTTPStatus.OK)
    async def render_draft(request: ApiRequest) -> RenderedView:
        api_key = await deps.keys.authenticate(request, KeyScope.READ)
        refuse_other_than_json(request)
        async with deps.bodies.read(request) as body:
            posted = decode(body, _draft_decoder)
            version = _draft(posted, numbers)
            wanted, now = _wanted(deps, api_key, version, posted), deps.now()
            made = await deps.composer.run(lambda composer: preview_once(composer, wanted, now))
        return rendered_view(made, None)

    return [render_stored, render_draft]


async def stored_version(db: Database, key: TemplateKey, number: int | None) -> TemplateVersion:
    """The one that is named, else the published one, else the newest draft. Raises NotFound."""
    template = await templates.get(db, key)
    chosen = number or template.published_version or template.latest_version
    found = await templates.version(db, template, chosen)
    return TemplateVersion(
        template.template_id,
        key,
        found.version,
        found.subject,
        found.html,
        found.text,
        found.variables,
        found.tracked,
    )


def _draft(posted: PostedDraft, numbers: Iterator[int]) -> TemplateVersion:
    """Under a number of its own: compiled templates are known by it. Raises InvalidInput."""
    for pointer, source in (("/subject", posted.subject), ("/html", posted.html), ("/text", posted.text)):
        if source is not None:
            check_text(source, pointer)
    check_template(posted.subject, posted.html, posted.text)
    return TemplateVersion(
        _NOT_STORED,
        TemplateKey(""),
        next(numbers),
        posted.subject,
        posted.html,
        posted.text,
        declared_variables(posted.declared, "/declared"),
        posted.tracking,
    )


def _wanted(
    deps: ApiDeps, key: ApiKey, version: TemplateVersion, posted: PostedRender | PostedDraft
) -> Wanted:
    """Raises InvalidInput."""
    variables = read_object(bytes(posted.variables), "/variables")
    check_json(variables, "/variables")
    stream = posted.stream or key.stream or Stream.TRANSACTIONAL
    domain = min(deps.rules.streams[stream].from_domains)
    return Wanted(version, variables, stream, f"preview@{domain}", _reader(posted.to))


def _reader(to: str | None) -> Mailbox:
    if to is None:
        return NOBODY
    try:
        return parse_mailbox(to)
    except InvalidAddress as error:
        raise InvalidAddress(error.message, pointer="/to") from error


def rendered_view(made: Preview, number: int | None) -> RenderedView:
    return RenderedView(made.subject, made.html, made.text, made.size, number, made.names, made.findings)

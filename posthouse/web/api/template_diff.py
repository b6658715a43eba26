"""GET /v1/templates/{key}/diff: what changed from one version to another."""

import asyncio
from typing import Annotated

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from posthouse.compose.version_diff import PartDiff, part_diff, variables_diff
from posthouse.storage import templates
from posthouse.storage.keys import KeyScope
from posthouse.storage.templates import StoredVersion
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.problems import ApiRequest
from posthouse.web.api.template_views import template_key, version_number

#: `from` is a word of Python.
_From = Annotated[int, QueryParameter(name="from")]
_To = Annotated[int, QueryParameter(name="to")]


class TemplateDiff(msgspec.Struct, frozen=True):
    """A part that did not change has no lines."""

    key: str
    old_version: int = msgspec.field(name="from")
    new_version: int = msgspec.field(name="to")
    subject: PartDiff
    html: PartDiff
    text: PartDiff
    variables: PartDiff


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    @get("/templates/{key:str}/diff")
    async def diff(request: ApiRequest, key: FromPath[str], old: _From, new: _To) -> TemplateDiff:
        await deps.keys.authenticate(request, KeyScope.READ)
        template = await templates.get(deps.database, template_key(key))
        before = await templates.version(deps.database, template, version_number(old))
        after = await templates.version(deps.database, template, version_number(new))
        return await asyncio.to_thread(
            diff_of, template.key, before, after
        )  # hundreds of milliseconds at worst

    return [diff]


def diff_of(key: str, old: StoredVersion, new: StoredVersion) -> TemplateDiff:
    return TemplateDiff(
        key=key,
        old_version=old.version,
        new_version=new.version,
        subject=part_diff(old.subject, new.subject),
        html=part_diff(old.html, new.html),
        text=part_diff(old.text, new.text),
        variables=variables_diff(old.variables, new.variables),
    )

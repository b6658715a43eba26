"""Stored templates and their versions."""

from http import HTTPStatus
from typing import Final

from posthouse.storage.keys import KeyScope
from posthouse.storage.templates import TemplateOrder
from posthouse.web.api.template_diff import TemplateDiff
from posthouse.web.api.template_render import PostedDraft, PostedRender, RenderedView
from posthouse.web.api.template_views import (
    TemplateDetails,
    TemplatePage,
    TemplateView,
    VersionPage,
    VersionView,
)
from posthouse.web.api.templates import PostedTemplate, PostedVersion, VersionReceipt
from posthouse.web.reference.endpoint import CURSOR, LIMIT, Body, Endpoint, Json, Method, path, query

GROUP: Final = "Templates"

KEY = path("key", str, "The template's key.", "receipt")
VERSION = path("version", int, "A version's number.", 2)
_VARIABLE: Final[Json] = {"name": "name", "required": True, "default": None}
_BODIES: Final[dict[str, Json]] = {
    "subject": "Your receipt, {{ name }}",
    "html": "<h1>Thank you, {{ name }}</h1><p>You paid {{ total }}.</p>",
    "text": "Thank you, {{ name }}. You paid {{ total }}.",
}
_STANDS: Final[dict[str, Json]] = {
    "version": 2,
    "state": "published",
    "variables": [_VARIABLE],
    "tracking": True,
    "created_at": "2026-11-24T10:00:00Z",
    "published_at": "2026-11-24T10:05:00Z",
}
_SUMMARY: Final[Json] = {**_STANDS, "subject": _BODIES["subject"], "has_html": True, "has_text": True}
_TEMPLATE: Final[dict[str, Json]] = {
    "key": "receipt",
    "name": "Receipt",
    "created_at": "2026-11-24T09:00:00Z",
    "archived_at": None,
    "latest_version": 2,
    "published_version": 2,
}
_UNCHANGED: Final[Json] = {"lines": [], "added": 0, "removed": 0, "compared": True, "complete": True}
_CHANGED: Final[Json] = {
    "lines": ["@@ -1 +1 @@", "-Your receipt", "+Your receipt, {{ name }}"],
    "added": 1,
    "removed": 1,
    "compared": True,
    "complete": True,
}
_RENDERED: Final[dict[str, Json]] = {
    "subject": "Your receipt, Jane",
    "html": "<h1>Thank you, Jane</h1><p>You paid .</p>",
    "text": "Thank you, Jane. You paid .",
    "size": 1893,
    "template_version": 2,
    "suggested_variables": ["name", "total"],
    "warnings": [
        {
            "code": "missing_variables",
            "message": "Not given, and so empty here, where a real mail would be refused: total.",
            "pointer": "/variables",
        }
    ],
}
_RECEIPT: Final[Json] = {"key": "receipt", "version": 2, "state": "published"}

ENDPOINTS: Final = (
    Endpoint(
        Method.GET,
        "/v1/templates",
        "list_templates",
        GROUP,
        "List templates",
        Body(TemplatePage, {"data": [_TEMPLATE], "has_more": False, "next_cursor": None}),
        KeyScope.READ,
        parameters=(
            LIMIT,
            CURSOR,
            query("order", TemplateOrder, "The order of the list.", "newest"),
            query("archived", bool, "The archived ones, not those in use.", False),
        ),
        refusals=(HTTPStatus.UNPROCESSABLE_ENTITY,),
    ),
    Endpoint(
        Method.POST,
        "/v1/templates",
        "create_template",
        GROUP,
        "Create a template with its first version",
        Body(VersionReceipt, {"key": "receipt", "version": 1, "state": "published"}),
        KeyScope.MANAGE,
        "Bodies are in Jinja2 syntax. `unsubscribe_url` is always there to use.",
        status=HTTPStatus.CREATED,
        posts=(Body(PostedTemplate, {"key": "receipt", "name": "Receipt", **_BODIES, "publish": True}),),
        refusals=(HTTPStatus.CONFLICT,),
    ),
    Endpoint(
        Method.GET,
        "/v1/templates/{key}",
        "get_template",
        GROUP,
        "A template and its newest versions",
        Body(TemplateDetails, {**_TEMPLATE, "versions": [_SUMMARY]}),
        KeyScope.READ,
        parameters=(KEY,),
        refusals=(HTTPStatus.NOT_FOUND,),
    ),
    Endpoint(
        Method.GET,
        "/v1/templates/{key}/versions",
        "list_template_versions",
        GROUP,
        "List a template's versions, newest first",
        Body(VersionPage, {"data": [_SUMMARY], "has_more": False, "next_cursor": None}),
        KeyScope.READ,
        parameters=(KEY, LIMIT, CURSOR),
        refusals=(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
    ),
    Endpoint(
        Method.POST,
        "/v1/templates/{key}/versions",
        "add_template_version",
        GROUP,
        "Add a version",
        Body(VersionReceipt, _RECEIPT),
        KeyScope.MANAGE,
        "Versions never change. Once published, the new one reaches mail that is already scheduled too.",
        status=HTTPStatus.CREATED,
        parameters=(KEY,),
        posts=(Body(PostedVersion, {**_BODIES, "publish": True}),),
        refusals=(HTTPStatus.NOT_FOUND,),
    ),
    Endpoint(
        Method.GET,
        "/v1/templates/{key}/versions/{version}",
        "get_template_version",
        GROUP,
        "One version with its bodies",
        Body(VersionView, {**_STANDS, **_BODIES}),
        KeyScope.READ,
        parameters=(KEY, VERSION),
        refusals=(HTTPStatus.NOT_FOUND,),
    ),
    Endpoint(
        Method.POST,
        "/v1/templates/{key}/versions/{version}/publish",
        "publish_template_version",
        GROUP,
        "Publish a version",
        Body(VersionReceipt, _RECEIPT),
        KeyScope.MANAGE,
        parameters=(KEY, VERSION),
        refusals=(HTTPStatus.NOT_FOUND,),
    ),
    Endpoint(
        Method.POST,
        "/v1/templates/{key}/archive",
        "archive_template",
        GROUP,
        "Archive a template",
        Body(TemplateView, {**_TEMPLATE, "archived_at": "2026-11-24T11:00:00Z"}),
        KeyScope.MANAGE,
        "No new mail may name it; what was accepted before still goes out.",
        parameters=(KEY,),
        refusals=(HTTPStatus.NOT_FOUND,),
    ),
    Endpoint(
        Method.POST,
        "/v1/templates/{key}/unarchive",
        "unarchive_template",
        GROUP,
        "Take a template back from the archive",
        Body(TemplateView, _TEMPLATE),
        KeyScope.MANAGE,
        parameters=(KEY,),
        refusals=(HTTPStatus.NOT_FOUND,),
    ),
    Endpoint(
        Method.GET,
        "/v1/templates/{key}/diff",
        "diff_template",
        GROUP,
        "What changed from one version to another",
        Body(
            TemplateDiff,
            {
                "key": "receipt",
                "from": 1,
                "to": 2,
                "subject": _CHANGED,
                "html": _UNCHANGED,
                "text": _UNCHANGED,
                "variables": _UNCHANGED,
            },
        ),
        KeyScope.READ,
        "A unified diff of each part. Where too much changed to be compared line by line, it says so.",
        parameters=(
            KEY,
            query("from", int, "The version before.", 1, required=True),
            query("to", int, "The version after.", 2, required=True),
        ),
        refusals=(HTTPStatus.NOT_FOUND,),
    ),
    Endpoint(
        Method.POST,
        "/v1/templates/{key}/render",
        "render_template",
        GROUP,
        "Show a template as the mail that it becomes",
        Body(RenderedView, _RENDERED),
        KeyScope.READ,
        "Made by the code that makes real mail; nothing is sent or stored. Missing variables stand empty.",
        parameters=(KEY,),
        posts=(Body(PostedRender, {"variables": {"name": "Jane"}}),),
        refusals=(HTTPStatus.NOT_FOUND,),
    ),
    Endpoint(
        Method.POST,
        "/v1/templates/render",
        "render_draft",
        GROUP,
        "Show a template that is not stored yet",
        Body(RenderedView, {**_RENDERED, "template_version": None}),
        KeyScope.READ,
        posts=(Body(PostedDraft, {**_BODIES, "variables": {"name": "Jane"}}),),
    ),
)

"""The API as one ASGI application."""

from functools import partial

from litestar import Litestar, Router
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from posthouse.domain.errors import PosthouseError
from posthouse.web import webhooks
from posthouse.web.api import (
    batch,
    changes,
    email_list,
    emails,
    health,
    keys,
    sending,
    suppression_bulk,
    suppression_why,
    suppressions,
    template_diff,
    template_render,
    template_views,
    templates,
)
from posthouse.web.api import webhooks as outgoing
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.marks import with_marks
from posthouse.web.api.problems import on_bug, on_house_error, on_http_error
from posthouse.web.reference.routes import routes as reference_routes
from posthouse.web.short_way import Route, with_short_way
from posthouse.web.unread import with_unread_taken


def build_api(deps: ApiDeps) -> ASGIApp:
    """Everything that the API role answers."""
    v1 = Router(path="/v1", route_handlers=v1_routes(deps))
    framework = Litestar(
        route_handlers=[v1, *health.routes(deps), *reference_routes(), *webhooks.routes(deps)],
        exception_handlers={
            PosthouseError: on_house_error,
            HTTPException: on_http_error,
            Exception: on_bug,
        },
        openapi_config=None,
        logging_config=None,  # the house's own: the framework's would write what is not redacted
        request_max_body_size=None,  # `Bodies` bounds them, and answers in our words
    )
    posts: dict[str, Route] = {
        "/v1/emails": partial(sending.send_one, deps),
        "/v1/emails/batch": partial(batch.send_batch, deps),
        **webhooks.short_ways(deps),
    }
    return with_marks(with_unread_taken(with_short_way(framework, posts)))


def v1_routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    """The routes under /v1; web/reference describes each."""
    return [
        *sending.routes(deps),
        *batch.routes(deps),
        *emails.routes(deps),
        *email_list.routes(deps),
        *changes.routes(deps),
        *templates.routes(deps),
        *template_views.routes(deps),
        *template_diff.routes(deps),
        *template_render.routes(deps),
        *suppressions.routes(deps),
        *suppression_why.routes(deps),
        *suppression_bulk.routes(deps),
        *keys.routes(deps),
        *outgoing.routes(deps),
    ]

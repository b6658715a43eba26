"""GET /openapi.json and /reference: what can be asked, for programs and for people. No key is needed."""

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from posthouse.web.reference import document, page

_NOT_SNIFFED = {"x-content-type-options": "nosniff"}


def routes() -> list[HTTPRouteHandler]:
    openapi, shown = document.encoded(), page.reference_page()

    @get("/openapi.json")
    async def get_openapi() -> Response[bytes]:
        return Response(openapi, media_type="application/json", headers=_NOT_SNIFFED)

    @get("/reference")
    async def get_reference() -> Response[bytes]:
        headers = {**_NOT_SNIFFED, "content-security-policy": page.POLICY}
        return Response(shown, media_type="text/html; charset=utf-8", headers=headers)

    return [get_openapi, get_reference]

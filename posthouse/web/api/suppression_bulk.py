"""POST /v1/suppressions/bulk: a list of any length, stored while it arrives."""

import random
from http import HTTPStatus
from typing import Final

import msgspec
from litestar import post
from litestar.handlers import HTTPRouteHandler

from posthouse.domain.errors import NotNow
from posthouse.intake.suppression_import import SuppressionImport
from posthouse.intake.suppression_lines import BadLine, ListFormat
from posthouse.storage.keys import KeyScope
from posthouse.telemetry import log
from posthouse.web.api.body import streamed
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.problems import ApiRequest, HttpError

MAX_LIST_BYTES: Final = 50_000_000

_FORMATS: Final = {
    "text/plain": ListFormat.ADDRESSES,
    "text/csv": ListFormat.CSV,
    "application/x-ndjson": ListFormat.JSON_LINES,
    "application/ndjson": ListFormat.JSON_LINES,
}


class BulkReceipt(msgspec.Struct, frozen=True):
    """`already`: entries that were there before, or stand twice in the list. `errors`: the first 100."""

    added: int
    already: int
    invalid: int
    errors: list[BadLine]


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    rng = random.Random()  # noqa: S311  # how long to wait before a set is tried again

    @post("/suppressions/bulk", status_code=HTTPStatus.OK)
    async def add_suppressions(request: ApiRequest) -> BulkReceipt:
        key = await deps.keys.authenticate(request, KeyScope.MANAGE)
        importing = SuppressionImport(deps.database, _format(request), deps.now(), rng)
        try:
            done = await importing.run(streamed(request, max_bytes=MAX_LIST_BYTES))
        except (HttpError, NotNow) as error:
            error.message += importing.done.how_far()
            raise
        finally:
            log.info(
                "suppressions_imported",
                key_id=str(key.api_key_id),
                added=importing.done.added,
                through_line=importing.done.through,
            )
        return BulkReceipt(done.added, done.already, done.invalid, list(done.errors))

    return [add_suppressions]


def _format(request: ApiRequest) -> ListFormat:
    """Raises HttpError (415)."""
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    form = _FORMATS.get(media_type.strip().lower())
    charset = parameters.lower().replace(" ", "").replace('"', "")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if form is None or charset not in ("", "charset=utf-8", "charset=us-ascii") or encoding != "identity":
        raise HttpError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Send one entry a line, in UTF-8 and uncompressed: text/plain (addresses), text/csv with a "
            "header line, or application/x-ndjson.",
            code="unsupported_media_type",
        )
    return form

"""What the exit code of `posthouse` means; docs and scripts rely on it."""

from enum import IntEnum
from typing import Final

from posthouse.domain.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    Misconfigured,
    NotFound,
    NotNow,
    PosthouseError,
    RenderFailed,
)


class Exit(IntEnum):
    """0, 1 and 2 as everywhere; above 64 as in sysexits.h."""

    OK = 0
    FOUND = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNAVAILABLE = 69
    INTERNAL = 70
    FORBIDDEN = 77
    MISCONFIGURED = 78


MEANINGS: Final = {
    Exit.OK: "done",
    Exit.FOUND: "`doctor` or `audit` found something wrong",
    Exit.USAGE: "a wrong option, or data that is not accepted: change it",
    Exit.NOT_FOUND: "there is no such thing",
    Exit.CONFLICT: "the thing is in another state",
    Exit.UNAVAILABLE: "try the same again later",
    Exit.INTERNAL: "a defect of Posthouse's: report it",
    Exit.FORBIDDEN: "the key may not do this",
    Exit.MISCONFIGURED: "a setting or the database must be mended first",
}

_BY_ERROR: Final = (
    (InvalidInput, Exit.USAGE),
    (RenderFailed, Exit.USAGE),
    (NotFound, Exit.NOT_FOUND),
    (Conflict, Exit.CONFLICT),
    (NotNow, Exit.UNAVAILABLE),
    (Forbidden, Exit.FORBIDDEN),
    (Misconfigured, Exit.MISCONFIGURED),
)


def exit_of(error: PosthouseError) -> Exit:
    """The exit code of an error, by its kind."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), Exit.INTERNAL)

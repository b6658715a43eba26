"""The few pages a reader may see: no script, nothing from elsewhere, light and dark."""

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import jinja2
from markupsafe import Markup

RETRY_AFTER: Final = 5  # seconds


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says. `button` posts to the page's own address; `retry_after` loads it again (seconds)."""

    title: str
    text: str
    button: str = ""
    retry_after: int = 0


_FOLDER = files("posthouse.web") / "pages"
_STYLE = (_FOLDER / "page.css").read_text(encoding="utf-8")
_TEMPLATE = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
    (_FOLDER / "page.html.j2").read_text(encoding="utf-8")
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")

#: Sent with every page: nothing is loaded, nothing runs, nobody frames it.
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)

UNKNOWN_LINK: Final = Page(
    "This link leads nowhere", "It may be incomplete. Please open it again from the message it came in."
)
LINK_AWAY: Final = Page(
    "One moment, please",
    "We are looking for your link. This page tries again by itself.",
    retry_after=RETRY_AFTER,
)
NOT_FOUND: Final = Page("Nothing here", "There is no page at this address.")
UNSUBSCRIBED: Final = Page("You are unsubscribed", "We will not send you this kind of message any more.")
NOT_YET: Final = Page(
    "Not done yet",
    "We could not store your wish just now. Please press the button again in a moment.",
    "Unsubscribe",
)


def confirm(address: str) -> Page:
    """Asks before anything changes: scanners open every link of a mail."""
    return Page("Unsubscribe?", f"We will stop sending this kind of message to {address}.", "Unsubscribe")


def html(page: Page) -> bytes:
    """The page as UTF-8."""
    return _TEMPLATE.render(
        title=page.title,
        text=page.text,
        button=page.button,
        retry_after=page.retry_after,
        style=Markup(_STYLE),  # noqa: S704 -- our own file
    ).encode()

"""Prepared templates: what can be done once for a template is not done again for each of its mails.

Most of the work on a mail is work on its template's own markup: checking it for the parsers, inlining its
style, finding its links. A prepared template has that behind it and is a template still. Its mails differ
from those made the long way in nothing that a reader could see; a template whose source alone does not prove
that is not prepared, and its mails are made the long way.

The proof: in a template that may be prepared
- values bring no markup, for the engine escapes all of them (`skeleton_of`) and they stand only in text and
  in quoted attributes (`outline_of`): the tags of a mail are those of its template;
- every element has the same elements around it in every mail (`outline_of`), and its style follows from these
  alone (`styled`): it has the same style in every mail;
- what is new in each mail stands between marks that no value can hold, so it is found without looking for it
  (`Prepared`).
"""

from dataclasses import dataclass, replace
from html import escape
from typing import Final

from posthouse.compose import guard
from posthouse.compose.bounds import bound_of
from posthouse.compose.limits import Limits
from posthouse.compose.outline import outline_of
from posthouse.compose.skeleton import NotPreparable, Skeleton, skeleton_of
from posthouse.compose.styling import styled
from posthouse.compose.tracking import Tracker, places, web_address
from posthouse.compose.way_out import footer, shows_way_out
from posthouse.domain.errors import RenderFailed

#: Longer ones are rare, and preparing one holds up the event loop.
_MAX_CHARACTERS: Final = 128_000
_MARKS: Final = "<ph:"
_HREF: Final = f"{_MARKS}href>"  # on both sides of a link's value
_END: Final = f"{_MARKS}end>"  # where a mail's own footer and pixel go
_ESCAPED_SLASH: Final = "&#x2f;"  # the engine escapes more than HTML asks for


@dataclass(frozen=True, slots=True)
class Prepared:
    """`source` is the template; `footer` is what its marketing mails end in when they show no way out, with
    `url_word` for the way out."""

    source: str
    footer: str
    url_word: str

    def pieces(self, rendered: str, way_out: str | None, tracker: Tracker | None) -> list[str]:
        """A rendered mail, taken apart: every second piece is the value of a link's `href`."""
        html = rendered.replace(_ESCAPED_SLASH, "/")
        ending = tracker.pixel if tracker is not None else ""
        if way_out is not None and not shows_way_out(html, way_out):
            ending = self.footer.replace(self.url_word, escape(way_out)) + ending
        return html.replace(_END, ending).split(_HREF)


def tracked(pieces: list[str], tracker: Tracker) -> str:
    """The mail with its links tracked."""
    done = pieces.copy()
    done[1::2] = map(tracker.href, pieces[1::2])
    return "".join(done)


def prepare(source: str, limits: Limits) -> Prepared | None:
    """A template's HTML prepared; None when that is not known to be sound."""
    if len(source) > _MAX_CHARACTERS or _MARKS in source or _ESCAPED_SLASH in source:
        return None
    if bound_of(source) is None:  # it does what these checks do not know
        return None
    try:
        skeleton = _with_footer(skeleton_of(source))
        guard.check(skeleton.html, limits)
        html = styled(skeleton, outline_of(skeleton))
        before, own_footer, after = html.split(_footer_mark(skeleton))
        html = _with_marked_links(before + _END + after, skeleton.stem)
        return Prepared(skeleton.restored(html), own_footer, _url_word(skeleton))
    except (NotPreparable, RenderFailed):
        return None


def _with_footer(skeleton: Skeleton) -> Skeleton:
    """With our footer where it would go, so that it gets the template's style."""
    html, mark = skeleton.html, _footer_mark(skeleton)
    end = outline_of(skeleton).end_of_body
    end = len(html) if end is None else end
    ours = mark + footer(_url_word(skeleton)) + mark
    return replace(skeleton, html=html[:end] + ours + html[end:])


def _footer_mark(skeleton: Skeleton) -> str:
    return f"<!--{skeleton.stem}f-->"


def _url_word(skeleton: Skeleton) -> str:
    return f"{skeleton.stem}u"


def _with_marked_links(html: str, stem: str) -> str:
    """With marks around every address that is, or could become, one to track."""
    pieces: list[str] = []
    done = 0
    for start, end in places(html)[0]:
        written = html[start:end]
        if stem in written or web_address(written) is not None:
            pieces += (html[done:start], _HREF, written, _HREF)
            done = end
    return "".join([*pieces, html[done:]])

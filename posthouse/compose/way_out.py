"""Marketing must show a way out (CAN-SPAM, the rules of Gmail and Yahoo): added to a body that has none."""

import re
from html import escape

_END_OF_BODY = re.compile(r"</body\b", re.IGNORECASE)


def shows_way_out(body: str, url: str) -> bool:
    """Whether the unsubscribe link stands in a body, in whatever spelling: the engine escapes its slashes."""
    return url.rpartition("/")[2] in body


def footer(url: str) -> str:
    """What is added to HTML."""
    return (
        '<p style="margin:24px 0 0;font-size:12px;text-align:center">'
        f'<a href="{escape(url)}">Unsubscribe</a></p>'
    )


def html_with_way_out(html: str, url: str) -> str:
    if shows_way_out(html, url):
        return html
    ends_of_body = [match.start() for match in _END_OF_BODY.finditer(html)]
    end = ends_of_body[-1] if ends_of_body else len(html)
    return html[:end] + footer(url) + html[end:]


def text_with_way_out(text: str, url: str) -> str:
    if shows_way_out(text, url):
        return text
    return f"{text.rstrip()}\n\nUnsubscribe: {url}\n"

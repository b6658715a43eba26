"""Marketing must show a way out (CAN-SPAM, the rules of Gmail and Yahoo): added to a body that has none."""

from html import escape

from posthouse.compose.tracking import places


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
    end_of_body = places(html)[1]  # one in a comment or a style would hide it
    end = len(html) if end_of_body < 0 else end_of_body
    return html[:end] + footer(url) + html[end:]


def text_with_way_out(text: str, url: str) -> str:
    if shows_way_out(text, url):
        return text
    return f"{text.rstrip()}\n\nUnsubscribe: {url}\n"

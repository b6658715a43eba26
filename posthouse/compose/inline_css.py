"""Style sheets to style attributes, because many mail readers drop `<style>`."""

import css_inline

from posthouse.domain.errors import RenderFailed

#: Fetches nothing; keeps @media (dark mode, small screens) and @font-face for the readers that know them.
_inliner = css_inline.CSSInliner(load_remote_stylesheets=False, keep_at_rules=True)


def inline_css(html: str) -> str:
    """The HTML with its rules in style attributes; the same object when it has no style sheet.

    `html` has passed `guard.check`. Raises RenderFailed.
    """
    if not is_styled(html):
        return html
    try:
        return _inliner.inline(html)
    except ValueError as error:
        raise RenderFailed(f"The style sheet cannot be inlined: {error}"[:500]) from error


def is_styled(html: str) -> bool:
    """Whether the inliner is asked at all: what it returns is spelled anew."""
    return "<style" in html or "<style" in html.lower()

"""What others wrote, made fit for a text column: PostgreSQL holds no NUL, and UTF-8 no half of a pair."""

import re

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """The same text; what cannot be stored stands as U+FFFD."""
    if text.isascii() and "\0" not in text:
        return text
    return _UNSTORABLE.sub("\ufffd", text)

"""A template's HTML as one document that an HTML parser can read, and back to a template.

In the skeleton every `{{ ... }}` is a word and every `{% ... %}` or `{# ... #}` is a comment. A parser keeps
a comment where it stands, also in a table. The words begin with a stem that the source does not hold.
"""

import re
from dataclasses import dataclass
from typing import Final

from posthouse.compose.template_tags import TagKind, Token, UnreadableTag, template_tags

#: Filters whose output the engine does not escape.
_RAW_FILTERS: Final = frozenset({"safe", "tojson"})


class NotPreparable(Exception):
    """The template is not known to give the same mail when it is prepared."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What stands in the skeleton in the place of a `{% ... %}`: its first word, None for a `{# ... #}`."""

    word: str | None


@dataclass(frozen=True, slots=True)
class Skeleton:
    """`html` is the document. `stem` begins every word that is ours, and occurs nowhere else."""

    html: str
    stem: str
    tags: tuple[str, ...]
    statements: dict[str, Statement]  # by the comment that stands for it

    def restored(self, html: str) -> str:
        """The template of an edited document. Raises NotPreparable when a tag was lost, doubled or moved."""
        found: list[int] = []

        def tag(match: re.Match[str]) -> str:
            number = int(match[1] or match[2])
            found.append(number)
            return self.tags[number]

        template = re.sub(rf"<!--{self.stem}s(\d+)x-->|{self.stem}e(\d+)x", tag, html)
        if found != list(range(len(self.tags))) or self.stem in template:
            raise NotPreparable
        return template


def skeleton_of(source: str) -> Skeleton:
    """Raises NotPreparable for tags that are not understood, or that could put markup into the mail."""
    stem = _stem(source)
    pieces: list[str] = []
    tags: list[str] = []
    statements: dict[str, Statement] = {}
    position = 0
    try:
        for number, tag in enumerate(template_tags(source)):
            _expect_escaped(tag.tokens)
            pieces.append(source[position : tag.start])
            if tag.kind is TagKind.EXPRESSION:
                pieces.append(f"{stem}e{number}x")
            else:
                comment = f"<!--{stem}s{number}x-->"
                statements[comment] = Statement(tag.tokens[0].text if tag.tokens else None)
                pieces.append(comment)
            tags.append(source[tag.start : tag.end])
            position = tag.end
    except UnreadableTag as error:
        raise NotPreparable from error
    pieces.append(source[position:])
    return Skeleton("".join(pieces), stem, tuple(tags), statements)


def _stem(source: str) -> str:
    """Lower case: parsers change the case of names."""
    lower = source.lower()
    number = 0
    while f"ph{number}q" in lower:
        number += 1
    return f"ph{number}q"


def _expect_escaped(tokens: tuple[Token, ...]) -> None:
    if any(token.kind == "name" and token.text in _RAW_FILTERS for token in tokens):
        raise NotPreparable

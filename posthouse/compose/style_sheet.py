"""Which style sheets give an element the same style however often a template repeats it, and whatever a
template leaves out beside it.

That is so when every selector looks only at the element and at those around it, and only at attributes that
no variable reaches. What is not known is not admitted. Linear in the sheet.
"""

import re
from typing import Final

#: Attributes that selectors may ask for, so a prepared template must not make them from variables.
SELECTED_ATTRIBUTES: Final = frozenset(
    {"class", "id", "style", "x-apple-data-detectors", "data-ogsc", "data-ogsb"}
)
#: Rules that the inliner keeps as they are, whatever is in them.
_KEPT_RULES: Final = frozenset(
    {"@charset", "@font-face", "@import", "@keyframes", "@-webkit-keyframes", "@media", "@page", "@supports"}
)
_PIECE = re.compile(
    r"""(?P<comment>/\*(?>(?:[^*]++|\*(?!/))*)\*/)
      | (?P<string>"(?>(?:[^"\\\n]++|\\.)*)"|'(?>(?:[^'\\\n]++|\\.)*)')
      | (?P<mark>[{};])
      | (?P<other>[^"'{};/\\]++|/(?!\*))""",
    re.VERBOSE | re.DOTALL,
)
_KEYWORD = re.compile(r"@[a-z-]++")
_SIMPLE_SELECTORS = re.compile(
    r"(?>(?:\*|[a-zA-Z][a-zA-Z0-9]*+)?)"
    r"(?>(?:[.#][a-zA-Z_-][a-zA-Z0-9_-]*+"
    rf"|\[(?:{'|'.join(sorted(SELECTED_ATTRIBUTES))})(?>(?:[~|^$*]?=(?:\"\"|[a-zA-Z][a-zA-Z0-9-]*+))?)\]"
    r"|::?(?:active|after|before|first-letter|first-line|focus|hover|link|visited)(?![a-z-]))*)"
)


def matches_by_ancestry(sheet: str) -> bool:
    """Whether the text of a `<style>` element is one of those sheets."""
    prelude: list[str] = []  # what stands before a rule's block
    depth = position = 0
    is_kept = False
    while position < len(sheet):
        piece = _PIECE.match(sheet, position)
        if piece is None:
            return False
        position = piece.end()
        match piece.group():
            case "{" if depth:
                if not is_kept:  # a rule in a rule
                    return False
                depth += 1
            case "{":
                is_kept = _is_kept("".join(prelude))
                if not (is_kept or _look_only_around("".join(prelude))):
                    return False
                depth = 1
            case "}":
                depth -= 1
                if depth < 0:
                    return False
                prelude.clear()
            case ";" if not depth:
                if not _is_kept("".join(prelude)):
                    return False
                prelude.clear()
            case text:
                prelude.append(_REPLACED.get(piece.lastgroup or "", text))
    return depth == 0 and not "".join(prelude).strip()


_REPLACED: Final = {"comment": " ", "string": '""'}


def _is_kept(prelude: str) -> bool:
    keyword = _KEYWORD.match(prelude.strip().lower())
    return keyword is not None and keyword.group() in _KEPT_RULES


def _look_only_around(selectors: str) -> bool:
    for selector in selectors.split(","):
        compounds = selector.replace(">", " ").split()
        if not compounds or not all(map(_SIMPLE_SELECTORS.fullmatch, compounds)):
            return False
    return True

"""A skeleton whose style sheets are in its style attributes, and which is else to the letter as it was.

The inliner answers what style each element has; it is asked once for a template, not once for a mail. That is
sound when each element's style follows from what is around it (`matches_by_ancestry`), when that is the same
in every mail (`outline_of`), and when the inliner's parser saw the elements as the outline has them: each one
once, in their order, within the same ones. The last is checked here, by a number that each element carries
through the inliner.
"""

from dataclasses import dataclass, field

from posthouse.compose.inline_css import inline_css, is_styled
from posthouse.compose.markup import ATTRIBUTES, RAW_TEXT, TOKEN, VOID, end_of_raw_text
from posthouse.compose.outline import Outline
from posthouse.compose.skeleton import NotPreparable, Skeleton
from posthouse.compose.style_sheet import matches_by_ancestry
from posthouse.domain.errors import RenderFailed


def styled(skeleton: Skeleton, outline: Outline) -> str:
    """The skeleton's HTML with its style inlined. Raises NotPreparable."""
    html = skeleton.html
    if not is_styled(html):
        return html
    if not all(matches_by_ancestry(sheet.text) for sheet in outline.sheets):
        raise NotPreparable
    answer = _ask_inliner(html, outline, f"{skeleton.stem}m")
    edits = [(sheet.start, sheet.end, "") for sheet in outline.sheets]
    if answer.kept_rules and outline.sheets:
        first = outline.sheets[0]
        edits[0] = (first.start, first.end, f"<style>{answer.kept_rules}</style>")
    for place, element in enumerate(outline.elements):
        if place not in answer.styles:
            edits.append((element.start, element.tag_end, ""))
        elif style := answer.styles[place]:
            start, end = element.style or (element.name_end, element.name_end)
            edits.append((start, end, f" style={style}"))
    return _edited(html, edits)


@dataclass(slots=True)
class _Answer:
    """What the inliner made: the written style of each element that it left, and the rules that it kept."""

    styles: dict[int, str | None] = field(default_factory=dict)
    kept_rules: str = ""


def _ask_inliner(html: str, outline: Outline, mark: str) -> _Answer:
    numbers = [
        (element.name_end, element.name_end, f' {mark}="{place}"')
        for place, element in enumerate(outline.elements)
    ]
    try:
        inlined = inline_css(_edited(html, numbers))
    except RenderFailed as error:
        raise NotPreparable from error
    answer = _read(inlined, outline, mark)
    lost = set(range(len(outline.elements))) - answer.styles.keys()
    if list(answer.styles) != sorted(answer.styles) or any(outline.elements[n].name != "link" for n in lost):
        raise NotPreparable
    return answer


def _read(inlined: str, outline: Outline, mark: str) -> _Answer:
    answer = _Answer()
    around: list[int | None] = [None]  # the numbered element around each open one, the innermost last
    position = 0
    while (token := TOKEN.match(inlined, position)) is not None:
        position = token.end()
        name = token["name"]
        if name is None:
            continue
        if token["slash"]:
            if len(around) == 1:
                raise NotPreparable
            around.pop()
            continue
        if name in RAW_TEXT:
            text_end = end_of_raw_text(inlined, name, position)
            if name == "style":
                answer.kept_rules += inlined[position:text_end]
            position = text_end
        attributes = {a[1]: a[2] for a in ATTRIBUTES.finditer(token["rest"])}
        number = attributes.get(mark)
        place = around[-1]
        if number is not None:
            place = int(number.strip('"'))
            if place in answer.styles or outline.elements[place].parent != around[-1]:
                raise NotPreparable
            answer.styles[place] = attributes.get("style")
        elif "style" in attributes:  # an element that the template leaves to the parser
            raise NotPreparable
        if name not in VOID:
            around.append(place)
    return answer


def _edited(html: str, edits: list[tuple[int, int, str]]) -> str:
    pieces: list[str] = []
    done = 0
    for start, end, text in sorted(edits):
        pieces += (html[done:start], text)
        done = end
    return "".join([*pieces, html[done:]])

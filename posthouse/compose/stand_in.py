"""Variables that a template uses and was not given: which they are, and empty texts in their place."""

from collections.abc import Iterator

from posthouse.compose.bounds import guarded_names
from posthouse.compose.engine import new_environment
from posthouse.compose.render import BUILT_IN_VARIABLES, undeclared
from posthouse.domain.template import TemplateVersion


def used_names(version: TemplateVersion) -> set[str]:
    """The variables that a template uses, members with their path (`order.total`), without what Posthouse
    itself gives. The version must parse."""
    environment = new_environment()
    names: set[str] = set()
    for source in _sources(version):
        names |= environment.undeclared_variables_in_str(source, nested=True)
    given = BUILT_IN_VARIABLES | environment.globals.keys()
    return {name for name in names if name.partition(".")[0] not in given}


def with_stand_ins(
    version: TemplateVersion, variables: dict[str, object]
) -> tuple[dict[str, object], list[str]]:
    """The variables with an empty text for each that is missing, and the names of those. Raises
    InvalidTemplate.

    What the template itself can do without (`x|default(...)`, `x is defined`) is not missing. An author who
    gives `order` without its `total` is told of `order.total`; one who gives no `order`, of `order`.
    """
    missing = {name for name in undeclared(version) if name not in variables}
    filled = _copy(variables)
    guarded = {name for source in _sources(version) for name in guarded_names(source)}
    for path in sorted(used_names(version), key=len, reverse=True):
        steps = path.split(".")
        if guarded.isdisjoint(steps) and steps[0] in missing | variables.keys() and _fill(filled, steps):
            missing.add(path if steps[0] in variables else steps[0])
    for name in missing:
        filled.setdefault(name.partition(".")[0], "")
    return filled, sorted(missing)


def _sources(version: TemplateVersion) -> Iterator[str]:
    yield from (source for source in (version.subject, version.html, version.text) if source is not None)


def _fill(variables: dict[str, object], steps: list[str]) -> bool:
    """Whether a member was missing, and is an empty text now. A value that has no members is left alone."""
    place: object = variables
    for step in steps[:-1]:
        if not isinstance(place, dict):
            return False
        place = place.setdefault(step, {})
    if not isinstance(place, dict) or steps[-1] in place:
        return False
    place[steps[-1]] = ""
    return True


def _copy(variables: dict[str, object]) -> dict[str, object]:
    """Of the objects in objects: they are what is filled."""
    return {name: _copy(value) if isinstance(value, dict) else value for name, value in variables.items()}

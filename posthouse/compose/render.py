"""Template versions to text: compiled once, rendered in this process where that is safe, else in the
sandbox."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec
from minijinja import Environment, TemplateError

from posthouse.clock import Clock
from posthouse.compose.bounds import Bound, bound_of, guarded_names
from posthouse.compose.engine import (
    HTML_SUFFIX,
    decode_variables,
    failure,
    is_engine_error,
    is_out_of_fuel,
    new_environment,
)
from posthouse.compose.limits import Limits
from posthouse.compose.prepare import Prepared, prepare
from posthouse.compose.sandbox import Sandbox
from posthouse.compose.sandbox_protocol import Part, RenderRequest
from posthouse.domain.errors import InvalidTemplate, RenderFailed, TemplateTooExpensive
from posthouse.domain.template import TemplateVersion

#: What Posthouse itself gives every template.
BUILT_IN_VARIABLES: Final = frozenset({"unsubscribe_url"})

_LEAST_FUEL: Final = 100  # below it the in-process try is not worth its cost
_KEPT_VERSIONS: Final = 256
_NO_VARIABLES: Final = b"{}"
_LOADING = re.compile(r"\{%[-+]?\s*+(include|import|extends|from)\b")
_TAG_FILTER = re.compile(r"\|\s*+([A-Za-z_]\w*+)")
_TAG = re.compile(r"\{[{%]([^{}]*+)[%}]\}")
_QUOTED = re.compile(r"\"[^\"]*+\"|'[^']*+'")
_METHOD = re.compile(r"built-in method (\w++) of \w++ object at 0x")
_METHOD_NAMES = re.compile(
    r"\.\s*+(?:" + "|".join(sorted({n for n in [*dir(dict), *dir(list)] if not n.startswith("_")})) + r")\b"
)


class Texts(msgspec.Struct, frozen=True):
    """A template's rendered parts; None for those it has not."""

    subject: str | None
    html: str | None
    text: str | None


@dataclass(frozen=True, slots=True)
class _CompiledPart:
    part: Part
    bound: Bound | None
    names_a_method: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled template version."""

    key: tuple[int, int]
    html: _CompiledPart | None
    text: _CompiledPart | None
    defaults: dict[str, object]
    defaults_bytes: int
    bodies: tuple[_CompiledPart, ...]
    everything: tuple[_CompiledPart, ...]  # the subject, then the bodies
    prepared: "PreparedPlan | None" = None


@dataclass(frozen=True, slots=True)
class PreparedPlan:
    """The same version with its HTML prepared: `finish` makes a body of what it renders to."""

    plan: Plan
    finish: Prepared


class Renderer:
    """Renders template versions. Holds the compiled ones, at most `_KEPT_VERSIONS`."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._environment = new_environment()
        self._sandbox = Sandbox(limits, clock)
        self._plans: OrderedDict[tuple[int, int], Plan] = OrderedDict()

    def plan(self, version: TemplateVersion) -> Plan:
        """Compile, or remember. Raises RenderFailed when a part does not parse."""
        key = (version.template_id, version.version)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._compile(version)
            self._plans[key] = plan
            if len(self._plans) > _KEPT_VERSIONS:
                self._forget(self._plans.popitem(last=False)[1])
        return plan

    def forget(self, version: TemplateVersion) -> None:
        """Drop what is compiled of a version, if anything is."""
        plan = self._plans.pop((version.template_id, version.version), None)
        if plan is not None:
            self._forget(plan)

    def try_render(
        self, plan: Plan, variables: bytes | None, built_in: Mapping[str, str], *, with_subject: bool
    ) -> Texts | None:
        """Render in this process; None when that is not known to be safe, or took too many steps.

        Raises RenderFailed.
        """
        data = variables or _NO_VARIABLES
        parts = plan.everything if with_subject else plan.bodies
        size = len(data) + plan.defaults_bytes + sum(map(len, built_in.values()))
        values = None
        texts = []
        for compiled in parts:
            if compiled.bound is None or (fuel := compiled.bound.fuel(size)) < _LEAST_FUEL:
                return None
            if values is None:
                values = {**plan.defaults, **decode_variables(data), **built_in}
            self._environment.fuel = fuel
            try:
                texts.append(self._environment.render_template(compiled.part.name, **values))
            except BaseException as error:
                if not is_engine_error(error):
                    raise
                if isinstance(error, TemplateError) and is_out_of_fuel(error):
                    return None
                raise failure(error, compiled.part.source) from error
        return self._checked(plan, parts, texts, with_subject=with_subject)

    async def render_sandboxed(
        self, plan: Plan, variables: bytes | None, built_in: Mapping[str, str], *, with_subject: bool
    ) -> Texts:
        """Render in the sandbox. Raises RenderFailed, TemplateTooExpensive, NotNow."""
        parts = plan.everything if with_subject else plan.bodies
        given = decode_variables(variables or _NO_VARIABLES)
        request = RenderRequest(
            parts=tuple(compiled.part for compiled in parts),
            variables=msgspec.json.encode({**plan.defaults, **given, **built_in}),
            output_bytes=self._limits.output_bytes,
        )
        texts = await self._sandbox.render(plan.key, request)
        return self._checked(plan, parts, list(texts), with_subject=with_subject)

    def close(self) -> None:
        """End the sandbox process."""
        self._sandbox.close()

    def _checked(
        self, plan: Plan, parts: tuple[_CompiledPart, ...], texts: list[str], *, with_subject: bool
    ) -> Texts:
        for compiled, text in zip(parts, texts, strict=True):
            if compiled.names_a_method or len(text) > self._limits.output_bytes:
                self._check_output(compiled, text)
        rest = iter(texts)
        return Texts(
            subject=next(rest) if with_subject else None,
            html=None if plan.html is None else next(rest),
            text=None if plan.text is None else next(rest),
        )

    def _check_output(self, compiled: _CompiledPart, text: str) -> None:
        if len(text) > self._limits.output_bytes:
            raise TemplateTooExpensive(f"The template made more than {self._limits.output_bytes >> 20} MB.")
        if compiled.names_a_method and "built-in method " in text and (method := _METHOD.search(text)):
            raise RenderFailed(f"The variable {method[1]} is missing.", code="missing_variable")

    def _compile(self, version: TemplateVersion) -> Plan:
        stem = f"{version.template_id}.{version.version}"
        defaults: dict[str, object] = {v.name: v.default for v in version.variables if not v.required}
        subject = self._compile_part(f"{stem}.subject", version.subject)
        html = None if version.html is None else self._compile_part(f"{stem}{HTML_SUFFIX}", version.html)
        text = None if version.text is None else self._compile_part(f"{stem}.text", version.text)
        bodies = tuple(part for part in (html, text) if part is not None)
        plan = Plan(
            key=(version.template_id, version.version),
            html=html,
            text=text,
            bodies=bodies,
            everything=(subject, *bodies),
            defaults=defaults,
            defaults_bytes=len(msgspec.json.encode(defaults)),
        )
        return replace(plan, prepared=self._prepare(plan))

    def _prepare(self, plan: Plan) -> PreparedPlan | None:
        if plan.html is None:
            return None
        finish = prepare(plan.html.part.source, self._limits)
        if finish is None:
            return None
        html = self._compile_part(f"{plan.html.part.name}.prepared{HTML_SUFFIX}", finish.source)
        everything = tuple(html if part is plan.html else part for part in plan.everything)
        return PreparedPlan(replace(plan, html=html, bodies=everything[1:], everything=everything), finish)

    def _compile_part(self, name: str, source: str) -> _CompiledPart:
        try:
            self._environment.add_template(name, source)
        except BaseException as error:
            if not is_engine_error(error):
                raise
            raise failure(error, source) from error
        return _CompiledPart(
            part=Part(name, source),
            bound=bound_of(source),
            names_a_method=_METHOD_NAMES.search(source) is not None,
        )

    def _forget(self, plan: Plan) -> None:
        parts = {*plan.everything, *(plan.prepared.plan.everything if plan.prepared is not None else ())}
        for compiled in parts:
            self._environment.remove_template(compiled.part.name)


def check_template(subject: str, html: str | None, text: str | None) -> None:
    """What acceptance asks of a template. Raises InvalidTemplate with the line and the reason."""
    if html is None and text is None:
        raise InvalidTemplate("A template needs html, text, or both.")
    environment = new_environment()
    for pointer, source in (("/subject", subject), ("/html", html), ("/text", text)):
        if source is not None:
            _check_part(environment, pointer, source)


def undeclared(version: TemplateVersion) -> set[str]:
    """The variables a job must give: those that the template uses, or declares as required, and that have
    no default in it or in its declarations. Raises InvalidTemplate when it does not parse."""
    environment = new_environment()
    names: set[str] = set()
    for pointer, source in (("/subject", version.subject), ("/html", version.html), ("/text", version.text)):
        if source is not None:
            _check_part(environment, pointer, source)
            names |= environment.undeclared_variables_in_str(source) - guarded_names(source)
    names |= {variable.name for variable in version.variables if variable.required}
    names -= {variable.name for variable in version.variables if not variable.required}
    return names - BUILT_IN_VARIABLES - environment.globals.keys()


def _check_part(environment: Environment, pointer: str, source: str) -> None:
    try:
        source.encode()
        environment.add_template(pointer, source)
    except TemplateError as error:
        raise _invalid(source, error.line, error.detail or error.message, pointer) from error
    except UnicodeEncodeError as error:
        raise InvalidTemplate("The template holds half a character.", pointer=pointer) from error
    loading = _LOADING.search(source)
    if loading is not None:
        line = source.count("\n", 0, loading.start()) + 1
        raise _invalid(source, line, f"`{loading[1]}` is not available: a template stands alone", pointer)
    _check_filters(environment, pointer, source)


def _check_filters(environment: Environment, pointer: str, source: str) -> None:
    """The engine looks filters up when it meets them; a typo should not wait for the first mail."""
    for tag in _TAG.finditer(source):
        for name in _TAG_FILTER.findall(_QUOTED.sub("''", tag[1])):
            if not _has_filter(environment, name):
                line = source.count("\n", 0, tag.start()) + 1
                raise _invalid(source, line, f"there is no filter `{name}`", pointer)


def _has_filter(environment: Environment, name: str) -> bool:
    try:
        environment.render_str("{{ 0|" + name + " }}")
    except TemplateError as error:
        return error.kind != "UnknownFilter"
    return True


def _invalid(source: str, line: int | None, reason: str, pointer: str) -> InvalidTemplate:
    where = f"Line {line}" if line is not None else f"One of {source.count(chr(10)) + 1} lines"
    return InvalidTemplate(f"{where}: {reason}.", pointer=pointer)

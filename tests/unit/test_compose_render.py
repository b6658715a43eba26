"""Templates: what they can do, what they say when they cannot, and what acceptance asks of them."""

import json

import pytest
from compose_kit import NOW, Wish, composer, job, template

from posthouse.compose.bounds import bound_of
from posthouse.compose.engine import new_environment
from posthouse.compose.pipeline import Composed
from posthouse.compose.render import check_template, undeclared
from posthouse.domain.errors import InvalidTemplate, RenderFailed
from posthouse.domain.template import TemplateVersion, Variable


def compose(version: TemplateVersion, **variables: object) -> Composed:
    """In this process, without the sandbox."""
    composed = composer().try_compose(job(Wish(variables=variables, tracked=False)), version, NOW)
    assert composed is not None
    return composed


@pytest.mark.parametrize(
    ("html", "escaped"),
    [
        ("<p>{{ x }}</p>", "<p>&lt;b&gt;&amp;&#x27;&quot;/</p>"),
        ("<p>{{ x }}", "<p>&lt;b&gt;&amp;&#x27;&quot;&#x2f;"),  # not plain enough to be prepared
    ],
)
def test_html_is_escaped_and_text_and_subject_are_not(html: str, escaped: str) -> None:
    version = template(html, "{{ x }}", "{{ x }}")
    mail = compose(version, x="<b>&'\"/").rendered
    assert mail.html == escaped
    assert mail.text == "<b>&'\"/"
    assert mail.subject == "<b>&'\"/"


def test_a_subject_of_the_job_is_data() -> None:
    composed = composer().try_compose(
        job(Wish(subject="{{ 7 * 7 }} {{ secret }}", variables={"secret": "s"})), template(text="x"), NOW
    )
    assert composed is not None
    assert composed.rendered.subject == "{{ 7 * 7 }} {{ secret }}"


def test_defaults_fill_what_is_not_given() -> None:
    version = template(text="{{ a }} {{ b }}", variables=(Variable("b", required=False, default="B"),))
    assert compose(version, a="A").rendered.text == "A B"
    assert compose(version, a="A", b="given").rendered.text == "A given"


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("{{ name }}", "name"),
        ("line\n{{ user.address.town }}", "user.address.town"),
        ("{% if vip %}x{% endif %}", "vip"),
        ("{% for i in rows %}x{% endfor %}", "rows"),
        ("{{ user.items }}", "items"),
        ("{{ name or 'x' }}", "name"),
    ],
)
def test_a_missing_variable_is_named(source: str, named: str) -> None:
    with pytest.raises(RenderFailed, match=named) as caught:
        compose(template(text=source), user={"address": {}})
    assert caught.value.code == "missing_variable"


def test_a_key_called_items_wins_over_the_method() -> None:
    version = template(text="{% for i in order.items %}{{ i }};{% endfor %}{{ order.items|length }}")
    assert compose(version, order={"items": ["a", "b"]}).rendered.text == "a;b;2"


@pytest.mark.parametrize(
    "variables", [b"[]", b"{", b'{"a": 1e999}', b'{"a": "\\ud800"}', b"[" * 100_000, b"\xff"]
)
def test_variables_that_are_no_object_end_the_job(variables: bytes) -> None:
    broken = job(Wish(variables=variables))
    with pytest.raises(RenderFailed):
        composer().try_compose(broken, template(text="{{ a }}"), NOW)


def test_the_newest_version_compiles_beside_the_old_one() -> None:
    house = composer()
    first, second = template(text="one", version=1), template(text="two", version=2)
    for version, text in ((first, "one"), (second, "two"), (first, "one")):
        composed = house.try_compose(job(Wish()), version, NOW)
        assert composed is not None
        assert composed.rendered.text == text
        assert composed.rendered.template_version == version.version


def test_more_versions_than_are_kept() -> None:
    house = composer()
    for number in range(600):
        composed = house.try_compose(job(Wish()), template(text=f"v{number}", version=number), NOW)
        assert composed is not None
        assert composed.rendered.text == f"v{number}"


@pytest.mark.parametrize(
    ("html", "line", "reason"),
    [
        ("a\nb{{ x ", 2, "unexpected end"),
        ("{% for a in b %}", 1, "unexpected end"),
        ("a\n\n{% include 'x' %}", 3, "include"),
        ("{%- extends 'x' %}", 1, "extends"),
        ("{% import 'x' as y %}", 1, "import"),
        ("{% from 'x' import y %}", 1, "from"),
        ("a\n{{ x|uper }}", 2, "no filter `uper`"),
        ("{{ " + "(" * 1000 + " }}", 1, "recursion"),
    ],
)
def test_a_template_that_cannot_work_is_refused_with_its_line(html: str, line: int, reason: str) -> None:
    with pytest.raises(InvalidTemplate, match=reason) as caught:
        check_template("s", html, None)
    assert caught.value.message.startswith(f"Line {line}")
    assert caught.value.pointer == "/html"


def test_good_templates_pass() -> None:
    check_template("{{ a }}", "{{ 'a|b'|upper }}{% set x = {'a': 1} %}{{ x.a }}", "{# include #}")


def test_a_template_without_a_body_is_refused() -> None:
    with pytest.raises(InvalidTemplate):
        check_template("s", None, None)


def test_half_a_character_in_a_template_is_refused() -> None:
    with pytest.raises(InvalidTemplate):
        check_template("\ud800", "x", None)


def test_what_a_job_must_give() -> None:
    version = template(
        "{{ a.b }}{% for i in rows %}{{ i.x }}{{ loop.index }}{% endfor %}{{ range(3) }}",
        "{{ c|default('x') }}{% if d is defined %}{{ d }}{% endif %}{{ unsubscribe_url }}",
        "{{ e }}{{ f }}",
        variables=(Variable("e", required=False, default=1), Variable("g")),
    )
    assert undeclared(version) == {"a", "rows", "f", "g"}


@pytest.mark.parametrize(
    "source",
    [
        "plain",
        "{{ a }}{{ a.b[0]['c'] }}{{- a -}}",
        "{% for i in a %}{{ loop.index }}{% else %}x{% endfor %}",
        "{% for k, v in a.items() if v %}{{ k }}{% endfor %}{% for k, v in a|items %}{{ v }}{% endfor %}",
        "{% if a and not (b or c == 'x') %}{% elif d is not defined %}{% else %}{% endif %}",
        "{{ a|default('x')|upper|e }}{{ 'x}}' if b else c }}",
        "{{ a|join(', ') }}{{ a|round(2) }}{# {{ x * 9 }} #}",
    ],
)
def test_usual_templates_are_bounded(source: str) -> None:
    assert bound_of(source) is not None


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 9 }}", "{{ a ~ a }}", "{{ a + a }}", "{% set a = a %}", "{{ a|replace('a', b) }}",
        "{{ a|indent(9999) }}", "{{ a|join(b) }}", "{{ a|join('123456789') }}", "{{ range(9) }}",
        "{{ a.b() }}", "{{ a.format(b) }}", "{{ [a, a] }}", "{{ (a, a) }}", "{{ {'a': a} }}", "{{ a[1:] }}",
        "{{ a % b }}", "{% macro m() %}{% endmacro %}", "{% block b %}{% endblock %}",
        "{% raw %}{% endraw %}", "{% filter upper %}{% endfilter %}", "{{ a in b }}",
        "{% for a in b recursive %}{% endfor %}", "{{ a|tojson(indent=99) }}", "{{ a|batch(99) }}",
        "{{ 'a\\n' }}", "{{ a", "{# a", "{{ a|map('upper') }}", "{% call m() %}{% endcall %}",
        "{{ ('a')(b) }}", "{{ a is divisibleby(3) }}", "{{ a.items(b) }}", "{{ a|center(99) }}",
        "{% autoescape false %}{% endautoescape %}", "{% do a.b() %}", "{{ a|unique }}",
        "{% for i in [1, 2] %}{% endfor %}", "{{ a // b }}", "{{ loop(a) }}", "{{ a|e(b=[1]) }}",
    ],
)  # fmt: skip
def test_what_could_grow_is_not_bounded(source: str) -> None:
    assert bound_of(source) is None


def test_the_bound_is_never_less_than_what_is_emitted() -> None:
    """The worst that one instruction can do, for the filters that grow most."""
    environment = new_environment()
    worst = ["/", "'", "\u0390", "\ufb03", "<", "\u0149", "\x01", "\U0010ffff"]
    chains = [
        "",
        "|upper",
        "|title",
        "|tojson",
        "|tojson|string|e",
        "|urlencode",
        "|e|string",
        "|join('<<<<<<<<')",
    ]
    for chain in chains:
        source = "{{ a" + chain + " }}"
        bound = bound_of(source)
        assert bound is not None
        environment.add_template("t.html", source)
        for character in worst:
            values: list[object] = [character * 500, [character] * 500, {character * 500: character * 500}]
            for value in [*values, [1e308] * 500]:
                if "join" in chain and isinstance(value, dict):
                    continue
                data = json.dumps({"a": value}, ensure_ascii=False).encode()
                emitted = len(environment.render_template("t.html", a=value).encode())
                assert emitted <= bound.growth * len(data) + bound.literal, (chain, character, type(value))

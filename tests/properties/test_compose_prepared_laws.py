"""A prepared template's mails are those of the long way, whatever the template and whatever the variables."""

from compose_kit import NOW, Wish, composer, job, template
from hypothesis import given, settings
from hypothesis import strategies as st
from mail_dom import dom

from posthouse.compose.pipeline import Composed
from posthouse.domain.errors import RenderFailed
from posthouse.domain.stream import Stream

#: Renders to nothing and forbids preparing: a filter that lets markup through.
_THE_LONG_WAY = "{{ ''|safe }}"

_rules = st.lists(
    st.sampled_from(
        [
            "p{color:red}",
            ".a{margin:0 0 12px;color:green}",
            "td, th{padding:4px 8px}",
            "#b a , div > p.a{color:blue}",
            "table td .a {font-size:14px !important}",
            "a:hover{color:red}",
            'h1 { font-family: "A B", sans-serif }',
            "body{margin:0}",
            "li{color:#222} ul li a{color:#333}",
            "/* } { */",
            "@media (max-width:600px){td{padding:2px} p:first-child{color:red}}",
            "[class~=a]{x:y}",
            "tr{background:url('x?a=1&b=2')}",
            "p a, .a a:visited{color: inherit}",
            "@font-face{font-family:x;src:url(y)}",
        ]
    ),
    max_size=5,
).map("\n".join)
_values = st.sampled_from(
    ["{{ x }}", "{{ y }}", "{{ x|upper }}", "{{ x|e }}", "{{- y -}}", "{{ n|default('-') }}"]
)
_texts = st.one_of(
    st.sampled_from(
        [
            "Hello",
            "a &amp; b",
            "5 &lt; 6",
            "&copy;",
            "é\u00a0ß",
            " ",
            "\n  ",
            "&#47;&nbsp;",
            "x > y",
            "{# note #}",
        ]
    ),
    _values,
    st.tuples(st.sampled_from(["&copy", "a", "<!-- c -->", "&am"]), _values).map("".join),
)
_attributes = st.lists(
    st.sampled_from(
        [
            ' class="a"',
            " class='a b'",
            ' id="b"',
            ' style="color: black; margin:1px"',
            " STYLE='font-family:\"A\"'",
            ' title="{{ x }}"',
            " title='a > {{ y }}'",
            ' alt="a&amp;b"',
            " width=100",
            " align=center",
            " hidden",
        ]
    ),
    max_size=3,
    unique_by=lambda written: written.strip().partition("=")[0].lower(),
).map("".join)
_hrefs = st.sampled_from(
    [
        '"https://x.test/sale"',
        "'https://x.test/?a=1&amp;b={{ y }}&copy=2'",
        '"https://x.test/{{ x }}"',
        '"{{ url }}"',
        '" {{ url }} "',
        '"{{ unsubscribe_url }}"',
        '"mailto:{{ x }}@x.test"',
        '"#top"',
        '"{{ x }}"',
        '"HTTPS://X.test/&#47;"',
        "https://x.test/plain",
        "'' data-posthouse-track=off",
        '"https://x.test/no" data-posthouse-track="off"',
    ]
)
_links = st.tuples(
    _hrefs, _attributes, st.sampled_from(["here", "{{ x }}", "<b>go</b>", "<img src=i.png alt='{{ y }}'>"])
).map(lambda parts: f"<a href={parts[0]}{parts[1]}>{parts[2]}</a>")
_leaves = st.one_of(
    _texts, _links, st.sampled_from(["<br>", "<br/>", "<hr>", "<img src='{{ url }}' width=1 />"])
)


def _element(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    names = st.sampled_from(["p", "div", "span", "b", "h1", "blockquote", "center", "strong", "pre"])
    return st.tuples(names, _attributes, inner).map(lambda e: f"<{e[0]}{e[1]}>{e[2]}</{e[0]}>")


def _block(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, inner).map(lambda b: f"{{% if flag %}}{b[0]}{{% else %}}{b[1]}{{% endif %}}"),
        inner.map(lambda b: f"{{% if not flag %}}{b}{{% endif %}}"),
        inner.map(lambda b: f"{{% for i in rows %}}{b}{{{{ i.t }}}}{{% endfor %}}"),
        inner.map(lambda b: f"{{%- for i in rows if flag -%}}{b}{{%- else -%}}none{{% endfor %}}"),
    )


def _structure(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    cell = st.tuples(st.sampled_from(["td", "th"]), _attributes, inner).map(
        lambda c: f"<{c[0]}{c[1]}>{c[2]}</{c[0]}>"
    )
    row = st.tuples(_attributes, st.lists(cell, max_size=2)).map(lambda r: f"<tr{r[0]}>{''.join(r[1])}</tr>")
    rows = st.one_of(row, _block(row), row.map(lambda r: f"<tbody>{r}</tbody>"))
    item = st.tuples(_attributes, inner).map(lambda i: f"<li{i[0]}>{i[1]}</li>")
    return st.one_of(
        st.tuples(_attributes, st.lists(rows, max_size=2)).map(
            lambda t: f"<table{t[0]}>{''.join(t[1])}</table>"
        ),
        st.lists(st.one_of(item, _block(item)), max_size=2).map(lambda i: f"<ul>{''.join(i)}</ul>"),
    )


def _pieces(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(inner, max_size=3).map("".join)
    return st.one_of(_element(several), _block(several), _structure(several))


_contents = st.lists(st.recursive(_leaves, _pieces, max_leaves=8), max_size=4).map("".join)
_documents = st.sampled_from(
    [
        "{style}{body}",
        "<html><head>{style}</head><body>{body}</body></html>",
        "<!DOCTYPE html><html lang=en><head><meta charset=utf-8><title>{{{{ x }}}}</title>{style}</head>"
        '<body class="a">\n{body}\n</body>\n</html>\n',
        '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://w3.test/x.dtd">\n<html>\n<head>'
        '<!--[if mso]><style>p{{color:red}}</style><![endif]--><link rel="stylesheet" href="https://x.test/f.css">'
        "{style}</head><body><!--[if mso]><table><tr><td width={{{{ n }}}}><![endif]-->"
        "<div>{body}</div><!--[if mso]></td></tr></table><![endif]--></body></html>",
        "<HTML><BODY BGCOLOR=white>{body}</BODY></HTML>",
    ]
)  # fmt: skip
_sheets = st.one_of(
    st.just(""),
    _rules.map(lambda rules: f"<style>{rules}</style>"),
    _rules.map(lambda rules: f'<style type="text/css">{rules}</style>\n<style media="(x)">td{{c:d}}</style>'),
)
_templates = st.tuples(_documents, _sheets, _contents).map(
    lambda parts: parts[0].format(style=parts[1], body=parts[2])
)
_naughty = st.one_of(
    st.sampled_from(
        [
            "", " ", "Ann", "<script>", '"><img src=x>', "' onclick='x", "</td></table>", "-->", "&lt;",
            "&amp", "<ph:href>", "<ph:end>", "ph0qe0x", "https://x.test/?a=b&c", "javascript:x()", "\u202e",
            "é&copy;", "{{ x }}", "</body>", "a/b//c", "&#x2f;",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8),
)  # fmt: skip
_variables = st.fixed_dictionaries(
    {
        "x": _naughty,
        "y": _naughty,
        "url": st.one_of(_naughty, st.just("https://x.test/reset/a&b"), st.just("http://x.test")),
        "n": st.integers(0, 999),
        "flag": st.booleans(),
        "rows": st.lists(st.fixed_dictionaries({"t": _naughty}), max_size=3),
    }
)
_house = composer()
_versions = iter(range(1_000_000))


def compose(html: str, text: str | None, wish: Wish) -> Composed | str | None:
    """The mail, or why there is none; None: the sandbox is asked."""
    try:
        return _house.try_compose(job(wish), template(html, text, version=next(_versions)), NOW)
    except RenderFailed as error:
        return error.message


def assert_same(html: str, text: str | None, wish: Wish) -> None:
    short, long = compose(html, text, wish), compose(_THE_LONG_WAY + html, text, wish)
    if not isinstance(short, Composed) or not isinstance(long, Composed):
        assert short == long
        return
    assert short.links == long.links
    assert short.rendered.subject == long.rendered.subject
    assert short.rendered.text == long.rendered.text
    assert short.rendered.html is not None
    assert long.rendered.html is not None
    assert dom(short.rendered.html) == dom(long.rendered.html)


#: What breaks a template's structure, put anywhere.
_strays = st.sampled_from(
    [
        "</p>", "<p>", "<td>", "</table>", "<table>", "<a href='https://q.test'>", "</a>", "<b>", "</b>",
        "<!--", "-->", '"', "'", ">", "<", "{% if flag %}", "{% endif %}", "{{ x }}", "</div>",
        "<style>p{color:red}</style>", "<select>", "<svg>", "<textarea>", "</body>", "<tr>", "<form>", "<li>",
        "<title>", "<p:", "p:first-child{x:y}",
    ]
)  # fmt: skip


@st.composite
def _broken(draw: st.DrawFn) -> str:
    html = draw(_templates)
    for _ in range(draw(st.integers(1, 2))):
        start = draw(st.integers(0, len(html)))
        end = draw(st.integers(start, min(len(html), start + 8)))
        html = html[:start] + draw(_strays) + html[end:]
    return html


@given(_templates, _variables, st.sampled_from(Stream), st.booleans(), st.sampled_from([None, "{{ x }}"]))
@settings(max_examples=300, deadline=None)
def test_the_same_mail_by_both_ways(
    html: str, variables: dict[str, object], stream: Stream, tracked: bool, text: str | None
) -> None:
    assert_same(html, text, Wish(variables=variables, stream=stream, tracked=tracked))


@given(_broken(), _variables)
@settings(max_examples=200, deadline=None)
def test_the_same_mail_of_a_broken_template(html: str, variables: dict[str, object]) -> None:
    assert_same(html, None, Wish(variables=variables, stream=Stream.MARKETING))

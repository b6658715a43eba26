"""From a job and its source to a mail: the steps in their order, and what each leaves behind."""

import re
from dataclasses import replace

import pytest
from compose_kit import JOB_ID, NOW, RETURN_PATH_KEY, TOKENS, Wish, composer, job, template
from mail_dom import dom
from mimecheck import header_names, parse

from posthouse.compose.mime import to_raw
from posthouse.compose.pipeline import Composed
from posthouse.compose.source import Content
from posthouse.domain.errors import RenderFailed
from posthouse.domain.job import Held
from posthouse.domain.message import Addressing, Mailbox
from posthouse.domain.return_path import read_return_path
from posthouse.domain.stream import Stream
from posthouse.domain.suppression import SuppressionScope
from posthouse.domain.template import TemplateVersion

_HTML = (
    "<html><head><style>p{color:red}</style></head><body><p>Hello {{ name }}</p>"
    "<a href='https://shop.test/o/{{ id }}'>order</a> <a href='{{ unsubscribe_url }}'>leave</a></body></html>"
)
_TEXT = "Hello {{ name }}: https://shop.test/o/{{ id }} Leave: {{ unsubscribe_url }}"
_VARIABLES = {"name": "Ann", "id": "a&b"}


def compose(source: TemplateVersion | Content, wish: Wish) -> Composed:
    composed = composer().try_compose(job(wish), source, NOW)
    assert composed is not None
    return composed


def test_a_template_becomes_a_mail() -> None:
    composed = compose(template(_HTML, _TEXT, "For {{ name }}"), Wish(variables=_VARIABLES, attempt=3))
    mail = composed.rendered
    assert (mail.job_id, mail.attempt, mail.stream) == (JOB_ID, 3, Stream.TRANSACTIONAL)
    assert mail.subject == "For Ann"
    assert mail.sender == Mailbox("hello@shop.test", "Shop")
    assert mail.recipient == "ann@inbox.test"
    assert mail.template_version == 1
    assert mail.date == NOW
    assert mail.message_id == f"<{JOB_ID.hex}@transactional.test>"
    assert read_return_path(mail.return_path, RETURN_PATH_KEY) == Held(JOB_ID, 3)
    assert mail.return_path.endswith("@bounce.transactional.test")
    assert mail.headers == (("Auto-Submitted", "auto-generated"),)
    assert [link.url for link in composed.links] == ["https://shop.test/o/a&b"]
    assert mail.html is not None
    assert '<p style="color: red;">Hello Ann</p>' in mail.html
    assert f'<img src="https://t.transactional.test/o/{JOB_ID}"' in mail.html
    assert mail.html.count("https://t.transactional.test/c/") == 1
    assert mail.text.count("https://t.transactional.test/c/") == 1
    assert "shop.test/o/" not in mail.html + mail.text
    parse(to_raw(mail).data)


def test_the_unsubscribe_link_is_never_tracked_and_says_who() -> None:
    mail = compose(template(_HTML, _TEXT), Wish(variables=_VARIABLES, stream=Stream.MARKETING)).rendered
    assert mail.html is not None
    for body in (mail.html, mail.text, dict(mail.headers)["List-Unsubscribe"]):
        (token,) = re.findall(r"https://t\.marketing\.test/u/([\w-]+)", body)
        opened = TOKENS.open(token)
        assert (opened.address, opened.scope, opened.job_id) == (
            "ann@inbox.test",
            SuppressionScope.MARKETING,
            JOB_ID,
        )


def test_derived_text_keeps_the_links_as_they_were() -> None:
    composed = compose(template(_HTML), Wish(variables=_VARIABLES))
    assert "order (https://shop.test/o/a&b)" in composed.rendered.text
    assert len(composed.links) == 1


@pytest.mark.parametrize("by_job", [True, False])
def test_untracked_mail_is_left_alone(by_job: bool) -> None:
    version = template(_HTML, _TEXT, tracked=by_job)
    composed = compose(version, Wish(variables=_VARIABLES, tracked=not by_job))
    assert composed.links == ()
    assert composed.rendered.html is not None
    assert "/c/" not in composed.rendered.html + composed.rendered.text
    assert "/o/01931f3a" not in composed.rendered.html


def test_marketing_without_a_way_out_gets_one() -> None:
    wish = Wish(stream=Stream.MARKETING, tracked=False)
    mail = compose(template("<body>İ Buy</body>", "Buy"), wish).rendered
    assert mail.html is not None
    assert re.fullmatch(
        r'<body>İ Buy<p [^>]*><a href="https://t\.marketing\.test/u/[\w-]+">Unsubscribe</a></p></body>',
        mail.html,
    )
    assert re.fullmatch(r"Buy\n\nUnsubscribe: https://t\.marketing\.test/u/[\w-]+\n", mail.text)
    derived = compose(template("Buy"), wish).rendered
    assert derived.text.count("Unsubscribe") == 1


@pytest.mark.parametrize(
    "body",
    [
        "<style>p{</body>color:red}</style>Buy",
        "<body>Buy</body><!-- </body> -->",
        "<body>Buy<title></body></title>",
        "Buy<p title='</body>'>now</p>",
    ],
)
def test_a_way_out_is_never_put_where_nobody_sees_it(body: str) -> None:
    mail = compose(Content(body, None), Wish(subject="Sale", stream=Stream.MARKETING, tracked=False)).rendered
    assert mail.text.count("https://t.marketing.test/u/") == 1


def test_transactional_mail_gets_no_way_out_that_nobody_asked_for() -> None:
    mail = compose(template("<body>x</body>", "x"), Wish(tracked=False)).rendered
    assert (mail.html, mail.text) == ("<body>x</body>", "x")


def test_posted_bodies_are_never_rendered() -> None:
    content = Content("<p>{{ 7 * 7 }}{% include 'x' %}</p>", "{{ 7 * 7 }}")
    mail = compose(content, Wish(subject="{{ 7 * 7 }}", tracked=False)).rendered
    assert (mail.subject, mail.html, mail.text) == ("{{ 7 * 7 }}", content.html, content.text)
    assert mail.template_version is None


def test_extra_headers_follow_ours() -> None:
    mail = compose(template(text="x"), Wish(extra_headers=(("X-Mine", "1"),))).rendered
    assert header_names(to_raw(mail).data).count("X-Mine") == 1


@pytest.mark.parametrize(
    "wish",
    [
        Wish(subject="a\r\nBcc: x@evil.test"),
        Wish(subject="=?utf-8?q?hi=0A?=Bcc: x@evil.test"),
        Wish(subject="\ud800"),
        Wish(from_address="a@b.test\r\nBcc: x@evil.test"),
        Wish(from_address="Shop <a@b.test"),
        Wish(to_address="a b@inbox.test"),
        Wish(addressing=Addressing(to=(Mailbox("a@b.test", "x\r\nBcc: y@evil.test"),))),
        Wish(addressing=Addressing(reply_to=(Mailbox("a@b.test>\n"),))),
        Wish(extra_headers=(("Bcc", "x@evil.test"),)),
        Wish(extra_headers=(("X-Mine", "1\r\nBcc: x@evil.test"),)),
    ],
)
def test_what_cannot_stand_in_a_header_ends_the_job_with_a_reason(wish: Wish) -> None:
    with pytest.raises(RenderFailed) as caught:
        composer().try_compose(job(wish), template(text="x"), NOW)
    assert caught.value.message


@pytest.mark.parametrize(
    "content",
    [
        Content("<div>" * 20_000, None),
        Content("\x00", "x"),
        Content("\ud800", "x"),
        Content(None, "\ud800"),
    ],
)
def test_bodies_that_cannot_be_sent_end_the_job_with_a_reason(content: Content) -> None:
    with pytest.raises(RenderFailed):
        composer().try_compose(job(Wish(subject="s")), content, NOW)


def test_a_template_subject_with_a_line_break_from_its_data_ends_the_job() -> None:
    wish = Wish(variables={"name": "a\r\nBcc: x@evil.test"})
    with pytest.raises(RenderFailed):
        composer().try_compose(job(wish), template(text="x", subject="For {{ name }}"), NOW)


def test_a_template_subject_may_stand_on_lines_of_its_own() -> None:
    assert compose(template(text="x", subject="\n For you \n"), Wish()).rendered.subject == "For you"


def test_composing_again_gives_the_same_mail() -> None:
    wish = Wish(variables=_VARIABLES, stream=Stream.MARKETING)
    first, second = (compose(template(_HTML, _TEXT), wish) for _ in range(2))
    assert first == second
    assert to_raw(first.rendered).data == to_raw(second.rendered).data


async def test_compose_takes_the_fast_way_where_it_can() -> None:
    house = composer()
    composed = await house.compose(job(Wish(variables=_VARIABLES)), template(_HTML, _TEXT), NOW)
    assert composed == house.try_compose(job(Wish(variables=_VARIABLES)), template(_HTML, _TEXT), NOW)


def test_a_template_that_could_grow_needs_the_sandbox() -> None:
    assert composer().try_compose(job(Wish()), template(text="{{ 'x' * 9 }}"), NOW) is None


def test_much_data_needs_the_sandbox() -> None:
    wish = Wish(variables={"rows": [{"text": "x" * 1000}] * 3000})
    version = template(text="{% for row in rows %}{{ row.text }}{% endfor %}")
    assert composer().try_compose(job(wish), version, NOW) is None


async def test_the_sandbox_gives_the_same_mail() -> None:
    house = composer()
    try:
        plain, growing = template(_HTML, _TEXT, version=1), template(_HTML + "{{ '' * 2 }}", _TEXT, version=1)
        expected = composer().try_compose(job(Wish(variables=_VARIABLES)), plain, NOW)
        composed = await house.compose(job(Wish(variables=_VARIABLES)), growing, NOW)
        assert expected is not None
        assert expected.rendered.html is not None
        assert composed.rendered.html is not None
        assert dom(composed.rendered.html) == dom(expected.rendered.html)
        assert composed.links == expected.links
        assert composed.rendered.text == expected.rendered.text
        with pytest.raises(RenderFailed, match="name") as caught:
            await house.compose(job(Wish(variables={"id": "1"})), growing, NOW)
        assert caught.value.code == "missing_variable"
        defaulted = replace(growing, version=2)
        again = await house.compose(job(Wish(variables=_VARIABLES)), defaulted, NOW)
        assert again.rendered.template_version == 2
    finally:
        house.close()

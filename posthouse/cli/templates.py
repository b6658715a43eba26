"""`posthouse templates list | get | push | publish | diff | archive | unarchive | render`"""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.text import Text

from posthouse.cli.call import Call, call_of, cell, moment, more, read_input, run, table
from posthouse.cli.reach import reached
from posthouse.cli.template_work import Pushed, push_version, rendered, version_of
from posthouse.clock import SystemClock
from posthouse.compose.version_diff import PartDiff
from posthouse.domain.errors import InvalidInput
from posthouse.domain.ids import TemplateKey
from posthouse.domain.stream import Stream
from posthouse.domain.template import VersionState
from posthouse.storage import templates
from posthouse.storage.templates import Template, TemplateOrder
from posthouse.web.api.template_diff import TemplateDiff, diff_of
from posthouse.web.api.template_render import RenderedView
from posthouse.web.api.template_views import (
    SHOWN_VERSIONS,
    TemplateDetails,
    details_view,
    page_view,
    place_at,
    template_key,
    template_view,
    version_view,
)
from posthouse.web.api.templates import VersionReceipt

group = typer.Typer(help="Templates and their versions.", no_args_is_help=True)

_Key = Annotated[str, typer.Argument(metavar="KEY", help="The template's key.")]
_Number = Annotated[int, typer.Argument(min=1, max=2**31 - 1, metavar="VERSION")]


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="templates")


@group.command("list")
def list_templates(
    context: typer.Context,
    order: Annotated[TemplateOrder, typer.Option(help="Newest first, or by key.")] = TemplateOrder.NEWEST,
    archived: Annotated[
        bool, typer.Option("--archived", help="The archived ones, not those in use.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before.")] = None,
) -> None:
    """Templates, with the version that mail is made from."""
    call = call_of(context)
    after = None if cursor is None else place_at(cursor)

    async def look() -> list[Template]:
        async with reached(call.settings()) as db:
            return await templates.page(db, order=order, after=after, archived=archived, limit=limit + 1)

    found = page_view(run(look()), limit)
    shown = table("key", "name", "published", "latest", "created")
    for one in found.data:
        values = (one.key, one.name, one.published_version, one.latest_version, moment(one.created_at))
        shown.add_row(*map(cell, values))
    call.answer(found, Group(shown, *more(found.next_cursor)))


@group.command("get")
def get(
    context: typer.Context,
    key: _Key,
    version: Annotated[
        int | None, typer.Option(min=1, max=2**31 - 1, help="Show this version whole.")
    ] = None,
) -> None:
    """A template and its newest versions, or one version with its bodies."""
    call = call_of(context)
    known = template_key(key)
    if version is None:
        details = run(_details(call, known))
        call.answer(details, _shown(details))
        return
    found = version_view(run(version_of(call.settings(), known, version)))
    parts = (("subject", found.subject), ("html", found.html), ("text", found.text))
    lines = [Text.assemble((f"{name}\n", "bold"), _body(body)) for name, body in parts if body is not None]
    call.answer(found, Group(*lines))


@group.command("push")
def push(
    context: typer.Context,
    key: _Key,
    subject: Annotated[str | None, typer.Option(help="The subject's template.")] = None,
    html: Annotated[str | None, typer.Option(help="File with the HTML; -: stdin.")] = None,
    text: Annotated[str | None, typer.Option(help="File with the plain text; -: stdin.")] = None,
    variables: Annotated[
        str | None, typer.Option(help="Declarations: a JSON list, or a file with one.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="For people; of a new template only.")] = None,
    publish: Annotated[bool, typer.Option("--publish", help="Mail is made from it from now on.")] = False,
) -> None:
    """A new version, of a new template if there is none. What is not given stays as in the newest version."""
    if [html, text, variables].count("-") > 1:
        raise InvalidInput("Only one part can come from stdin: name a file for the other.")
    call = call_of(context)
    pushed = Pushed(
        subject=subject,
        html=None if html is None else _text_of(html),
        text=None if text is None else _text_of(text),
        variables=None if variables is None else _json_of(variables),
        name=name,
        publish=publish,
    )
    receipt = run(push_version(call.settings(), key, pushed, SystemClock().now()))
    call.answer(receipt, _told(receipt))


@group.command("publish")
def publish(
    context: typer.Context,
    key: _Key,
    version: Annotated[
        int | None, typer.Argument(min=1, max=2**31 - 1, metavar="VERSION", help="Default: the latest.")
    ] = None,
) -> None:
    """Make mail from this version from now on, if no newer one is published."""
    call = call_of(context)
    known = template_key(key)

    async def make_known() -> int:
        async with reached(call.settings()) as db:
            number = version or (await templates.get(db, known)).latest_version
            await templates.publish(db, known, number, SystemClock().now())
            return number

    receipt = VersionReceipt(known, run(make_known()), VersionState.PUBLISHED)
    call.answer(receipt, _told(receipt))


@group.command("diff")
def diff(context: typer.Context, key: _Key, old: _Number, new: _Number) -> None:
    """What changed from one version to another, line by line."""
    call = call_of(context)
    known = template_key(key)

    async def compare() -> TemplateDiff:
        settings = call.settings()
        before, after = await version_of(settings, known, old), await version_of(settings, known, new)
        return diff_of(known, before, after)

    found = run(compare())
    parts = {"subject": found.subject, "html": found.html, "text": found.text, "variables": found.variables}
    shown = [_coloured(name, part) for name, part in parts.items() if part.lines]
    call.answer(found, Group(*shown) if shown else Text("They are the same."))


@group.command("archive")
def archive(context: typer.Context, key: _Key) -> None:
    """Let no new mail name it. What was accepted before still goes out."""
    call = call_of(context)
    known = template_key(key)

    async def set_aside() -> Template:
        async with reached(call.settings()) as db:
            await templates.archive(db, known, SystemClock().now())
            return await templates.get(db, known)

    call.answer(template_view(run(set_aside())), Text(f"{known} is archived."))


@group.command("unarchive")
def unarchive(context: typer.Context, key: _Key) -> None:
    """Let mail name it again."""
    call = call_of(context)
    known = template_key(key)

    async def bring_back() -> Template:
        async with reached(call.settings()) as db:
            await templates.unarchive(db, known)
            return await templates.get(db, known)

    call.answer(template_view(run(bring_back())), Text(f"{known} is in use again."))


@group.command("render")
def render(
    context: typer.Context,
    key: _Key,
    variables: Annotated[
        str, typer.Option("--vars", help="The values: a JSON object, a file with one, or - for stdin.")
    ] = "{}",
    version: Annotated[
        int | None,
        typer.Option(min=1, max=2**31 - 1, help="Default: the published one, else the latest."),
    ] = None,
    stream: Annotated[Stream, typer.Option(help="Whose mail it would be.")] = Stream.TRANSACTIONAL,
    html_to: Annotated[Path | None, typer.Option(help="Write the HTML to this file.")] = None,
) -> None:
    """Show it as the mail that it becomes, with what is wrong with it. Nothing is sent or stored."""
    call = call_of(context)
    made = run(rendered(call.settings(), template_key(key), version, _raw_of(variables), stream))
    if html_to is not None:
        _write(html_to, made.html or "")
    call.answer(made, _as_mail(made))


async def _details(call: Call, key: TemplateKey) -> TemplateDetails:
    async with reached(call.settings()) as db:
        template = await templates.get(db, key)
        found = await templates.versions(db, template.template_id, before=None, limit=SHOWN_VERSIONS)
    return details_view(template, found)


def _shown(details: TemplateDetails) -> RenderableType:
    state = "" if details.archived_at is None else f", archived since {moment(details.archived_at)}"
    head = Text(f"{details.key}: {details.name}{state}", "bold")
    shown = table("version", "state", "subject", "parts", "created")
    for one in details.versions:
        parts = " and ".join(name for name, has in (("html", one.has_html), ("text", one.has_text)) if has)
        shown.add_row(*map(cell, (one.version, one.state, one.subject, parts, moment(one.created_at))))
    return Group(head, Text(), shown)


def _told(receipt: VersionReceipt) -> Text:
    return Text(f"{receipt.key}: version {receipt.version} is {_IN_WORDS[receipt.state]}.")


_IN_WORDS = {
    VersionState.DRAFT: "a draft: `posthouse templates publish` lets mail be made from it",
    VersionState.PUBLISHED: "published",
}


def _coloured(name: str, part: PartDiff) -> Text:
    shown = Text(f"{name}: {part.added} lines added, {part.removed} removed\n", "bold")
    for line in part.lines:
        shown.append_text(Text.assemble((cell(line).plain, _STYLES.get(line[:1], "")), "\n"))
    return shown if part.complete else shown.append("(cut short)\n")


_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def _as_mail(made: RenderedView) -> RenderableType:
    head = Text.assemble(("subject  ", "bold"), cell(made.subject))
    size = Text.assemble(("size     ", "bold"), f"{made.size:,} bytes, version {made.template_version}")
    warnings = [Text(f"warning: {one.message}", "yellow") for one in made.warnings]
    return Group(head, size, *warnings, Text(), _body(made.text))


def _body(text: str) -> Text:
    """Many lines, each without what could steer the terminal."""
    return Text("\n").join(map(cell, text.splitlines()))


def _text_of(path: str) -> str:
    try:
        return read_input(path).decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8: save it as that.") from error


def _raw_of(given: str) -> bytes:
    """JSON that stands in the argument itself, in a file or on stdin."""
    return given.encode() if given.lstrip()[:1] in ("{", "[") else read_input(given)


def _json_of(given: str) -> object:
    try:
        return msgspec.json.decode(_raw_of(given))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"The declarations are not JSON: {error}.", pointer="/variables") from error


def _write(path: Path, html: str) -> None:
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error

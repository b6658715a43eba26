"""`posthouse templates`: pushed, compared, published, shown as a mail."""

import msgspec
from cli_shell import Shell, Told, on_a_terminal

from posthouse.cli.exits import Exit
from posthouse.compose.version_diff import PartDiff


def strings(told: Told, name: str) -> list[dict[str, object]]:
    return msgspec.convert(told.json()[name], list[dict[str, object]])


async def push(shell: Shell, *words: str, stdin: str = "") -> Told:
    return await shell.posthouse("templates", "push", "receipt", *words, stdin=stdin)


async def test_from_the_first_version_to_the_published_one(shell: Shell) -> None:
    (shell.folder / "receipt.html").write_text("<p>Hello {{ name }},</p>\n<p>you paid {{ sum }}.</p>\n")
    first = await push(shell, "--subject", "Your receipt, {{ name }}", "--html", "receipt.html")
    assert first.code == Exit.OK, first.err
    assert first.json() == {"key": "receipt", "version": 1, "state": "draft"}
    second = await push(shell, "--text", "-", "--publish", stdin="Hello {{ name }}\n")
    assert second.json() == {"key": "receipt", "version": 2, "state": "published"}
    kept = (await shell.posthouse("templates", "get", "receipt", "--version", "2")).json()
    assert kept["subject"] == "Your receipt, {{ name }}"
    assert kept["text"] == "Hello {{ name }}\n"
    assert str(kept["html"]).startswith("<p>Hello")
    (listed,) = strings(await shell.posthouse("templates", "list"), "data")
    assert (listed["key"], listed["published_version"], listed["latest_version"]) == ("receipt", 2, 2)
    third = await push(shell, "--subject", "Thank you")
    assert third.json()["state"] == "draft"
    published = await shell.posthouse("templates", "publish", "receipt")
    assert published.json() == {"key": "receipt", "version": 3, "state": "published"}
    details = await shell.posthouse("templates", "get", "receipt")
    assert [one["version"] for one in strings(details, "versions")] == [3, 2, 1]
    assert "Thank you" in await on_a_terminal(shell, "templates", "get", "receipt")


async def test_two_versions_are_compared(shell: Shell) -> None:
    await push(shell, "--subject", "One", "--text", "-", stdin="Hello\nworld\n")
    await push(shell, "--subject", "Two", "--text", "-", stdin="Hello\nhouse\n")
    found = (await shell.posthouse("templates", "diff", "receipt", "1", "2")).json()
    names = ("subject", "html", "text", "variables")
    parts = msgspec.convert({name: found[name] for name in names}, dict[str, PartDiff])
    assert {name: part.lines for name, part in parts.items()} == {
        "subject": ["@@ -1 +1 @@", "-One", "+Two"],
        "html": [],
        "text": ["@@ -1,2 +1,2 @@", " Hello", "-world", "+house"],
        "variables": [],
    }
    assert "-One" in await on_a_terminal(shell, "templates", "diff", "receipt", "1", "2")
    assert "the same" in await on_a_terminal(shell, "templates", "diff", "receipt", "2", "2")
    assert (await shell.posthouse("templates", "diff", "receipt", "1", "9")).code == Exit.NOT_FOUND


async def test_it_is_shown_as_the_mail_that_it_becomes(shell: Shell) -> None:
    declared = '[{"name": "sum", "default": "nothing"}]'
    words = ("--subject", "Hi {{ name }}", "--html", "-", "--variables", declared)
    pushed = await push(shell, *words, stdin="<p>{{ name }} paid {{ sum }}</p>")
    assert pushed.code == Exit.OK, pushed.err
    (shell.folder / "vars.json").write_text('{"name": "Jane"}')
    words = ("templates", "render", "receipt", "--html-to", "mail.html", "--vars")
    shown = (await shell.posthouse(*words, "vars.json")).json()
    assert (shown["subject"], shown["template_version"]) == ("Hi Jane", 1)
    assert "Jane paid nothing" in str(shown["text"])
    assert "Jane paid nothing" in (shell.folder / "mail.html").read_text()
    missing = await shell.posthouse("templates", "render", "receipt")
    assert "missing_variables" in {one["code"] for one in strings(missing, "warnings")}
    seen = await on_a_terminal(shell, "templates", "render", "receipt", "--vars", '{"name": "J\\u001bane"}')
    assert "warning:" in seen
    assert "J ane paid nothing" in seen
    wrong = await shell.posthouse("templates", "render", "receipt", "--vars", "{")
    assert (wrong.code, wrong.error()["pointer"]) == (Exit.USAGE, "/variables")
    assert (await shell.posthouse("templates", "render", "none")).code == Exit.NOT_FOUND


async def test_archived_ones_are_out_of_the_way(shell: Shell) -> None:
    await push(shell, "--subject", "One", "--text", "-", stdin="Hello")
    assert (await shell.posthouse("templates", "archive", "receipt")).json()["archived_at"] is not None
    assert strings(await shell.posthouse("templates", "list"), "data") == []
    assert len(strings(await shell.posthouse("templates", "list", "--archived"), "data")) == 1
    assert (await shell.posthouse("templates", "unarchive", "receipt")).json()["archived_at"] is None
    assert len(strings(await shell.posthouse("templates", "list", "--order", "key"), "data")) == 1


async def test_what_is_no_template(shell: Shell) -> None:
    assert (await push(shell, "--text", "-", stdin="x")).error()["pointer"] == "/subject"
    broken = await push(shell, "--subject", "x", "--text", "-", stdin="{{ name")
    assert (broken.code, broken.error()["code"]) == (Exit.USAGE, "invalid_template")
    assert (await push(shell, "--subject", "x")).code == Exit.USAGE  # no body at all
    assert (await push(shell, "--subject", "x", "--html", "none.html")).code == Exit.USAGE
    assert (await push(shell, "--subject", "x", "--text", "-", "--variables", "[")).code == Exit.USAGE
    bad_key = await shell.posthouse("templates", "push", "No Key", "--subject", "x", "--text", "-", stdin="x")
    assert bad_key.code == Exit.USAGE
    assert (await shell.posthouse("templates", "archive", "none")).code == Exit.NOT_FOUND
    assert (await shell.posthouse("templates", "publish", "none")).code == Exit.NOT_FOUND


async def test_pages(shell: Shell) -> None:
    for key in ("a", "b", "c"):
        await shell.posthouse("templates", "push", key, "--subject", "x", "--text", "-", stdin="x")
    page = await shell.posthouse("templates", "list", "--order", "key", "--limit", "2")
    assert [one["key"] for one in strings(page, "data")] == ["a", "b"]
    cursor = str(page.json()["next_cursor"])
    rest = await shell.posthouse("templates", "list", "--order", "key", "--cursor", cursor)
    assert [one["key"] for one in strings(rest, "data")] == ["c"]
    assert (await shell.posthouse("templates", "list", "--cursor", "x")).code == Exit.USAGE

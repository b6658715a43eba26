import pytest

from posthouse.cli.call import cell
from posthouse.cli.exits import Exit, exit_of
from posthouse.cli.main import anywhere, main
from posthouse.cli.send import _refused, _variables
from posthouse.domain import errors
from posthouse.domain.errors import InvalidInput, PosthouseError


@pytest.mark.parametrize(
    ("words", "arranged"),
    [
        ("doctor --json", "--json doctor"),
        ("--json doctor", "--json doctor"),
        ("audit --ledger a --json --sink b", "--json audit --ledger a --sink b"),
        ("doctor", "doctor"),
        ("", ""),
        ("send -- --json", "send -- --json"),
        ("send --json -- --json", "--json send -- --json"),
    ],
)
def test_json_may_stand_anywhere(words: str, arranged: str) -> None:
    assert anywhere(words.split()) == arranged.split()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidAddress("x"), 2),
        (errors.NotFound("x"), 3),
        (errors.Conflict("x"), 4),
        (errors.NotNow("x"), 69),
        (errors.Forbidden("x"), 77),
        (errors.Misconfigured("x"), 78),
        (errors.TemplateTooExpensive("x"), 2),
        (PosthouseError("x"), 70),
    ],
)
def test_every_kind_of_error_has_its_exit_code(error: PosthouseError, code: int) -> None:
    assert exit_of(error) == code


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, Exit.USAGE),
        (401, Exit.FORBIDDEN),
        (403, Exit.FORBIDDEN),
        (404, Exit.NOT_FOUND),
        (409, Exit.CONFLICT),
        (413, Exit.USAGE),
        (422, Exit.USAGE),
        (429, Exit.UNAVAILABLE),
        (500, Exit.UNAVAILABLE),
        (503, Exit.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("body", [b"<html>", b"", b'{"detail":"Because.","code":"why"}'])
def test_what_the_api_refuses_has_its_exit_code(status: int, code: Exit, body: bytes) -> None:
    error = _refused(status, body)
    assert exit_of(error) is code
    assert error.message == ("Because." if b"Because" in body else f"The API answered {status}.")


def test_variables_are_text_unless_they_are_json() -> None:
    assert _variables(["name=Jane", "n=3", "items=[1,2]", "eq=a=b", "zip=01234", 'quoted="3"', "none="]) == {
        "name": "Jane",
        "n": 3,
        "items": [1, 2],
        "eq": "a=b",
        "zip": "01234",
        "quoted": "3",
        "none": "",
    }
    with pytest.raises(InvalidInput):
        _variables(["name"])


def test_what_strangers_wrote_cannot_steer_a_terminal() -> None:
    assert cell("a\x1b]0;title\x07b\r\nc\u202e[bold]").plain == "a ]0;title b  c [bold]"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for command in ("migrate", "send", "events", "emails", "keys", "doctor", "version", "audit"):
        assert command in shown

"""What the documents say is there: settings, metrics, commands, failpoints, tables, files, tests, links."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Final, get_args

import msgspec
import pytest
import typer

from posthouse.app.role import RoleName
from posthouse.cli.docs import commands as command_pages
from posthouse.cli.docs import events, lifecycle, reasons, settings
from posthouse.cli.main import program
from posthouse.compose.header_text import refuse_breaks
from posthouse.compose.headers import check_headers
from posthouse.config import Settings, settings_from
from posthouse.domain.event import BounceClass, EventType
from posthouse.domain.ids import ApiKeyId, uuid7
from posthouse.domain.suppression import SuppressionReason
from posthouse.ingest.receive import Received
from posthouse.intake.policy import StreamPolicy
from posthouse.intake.posted import PostedEmail
from posthouse.intake.validate import Rules, validate
from posthouse.relays.base import Capabilities, Outcome
from posthouse.storage.keys import ApiKey
from posthouse.telemetry import Metrics

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
PAGES: Final = {
    str(page.relative_to(ROOT)): page.read_text(encoding="utf-8")
    for page in sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
}
MADE_BY: Final = "python -m posthouse.cli.docs"
CODE: Final = [path for path in (ROOT / "posthouse").rglob("*.py") if path.name != "failpoints.py"]


def page(name: str) -> str:
    return PAGES[f"docs/{name}"]


def section(text: str, title: str) -> str:
    """What stands under a heading of the second level, up to the next."""
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def first_cells(table: str) -> set[str]:
    """What stands in backticks in the first column of the tables of a text."""
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name for cell in rows for name in re.findall(r"`([^`]+)`", cell)}


# ---- made from code ----------------------------------------------------------------------------------------


def test_the_reference_of_settings_is_fresh() -> None:
    assert page("configuration.md") == settings.reference(), f"run: {MADE_BY}"


def test_the_reference_of_commands_is_fresh() -> None:
    assert page("cli.md") == command_pages.reference(program()), f"run: {MADE_BY}"


def test_the_page_of_events_is_fresh_and_knows_every_table() -> None:
    shown = page("events.md")
    assert shown == events.reference(), f"run: {MADE_BY}"
    tables = list((ROOT / "posthouse" / "relays").glob("*/*.toml"))
    assert len(tables) >= 6
    for table in tables:
        assert f"`{table.relative_to(ROOT)}`" in shown
    for kind in [*EventType, *BounceClass, *SuppressionReason]:
        assert f"| `{kind}` |" in shown


def test_every_option_says_what_it_does() -> None:
    rows = [line for line in page("cli.md").splitlines() if line.startswith("| `--")]
    assert len(rows) > 20
    assert [row for row in rows if not row.rstrip(" |").rpartition("|")[2].strip()] == []


def test_every_setting_says_what_it_is() -> None:
    rows = [line for line in page("configuration.md").splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    assert [row for row in rows if not row.rstrip(" |").rpartition("|")[2].strip()] == []


def test_the_configurations_that_are_shown_are_good() -> None:
    shown = re.findall(r"```toml\n(.*?)```", page("configuration.md"), re.DOTALL)
    assert len(shown) == 2
    for text in shown:
        assert isinstance(settings_from(tomllib.loads(text), "docs/configuration.md"), Settings)


@pytest.mark.parametrize("key", ["relays", "from_domains", "tracking_url", "bounce_domain"])
def test_only_what_has_no_default_is_called_required(key: str) -> None:
    least = tomllib.loads(settings.LEAST_STREAM.format(name="marketing"))["streams"]["marketing"]
    assert key in least
    assert re.search(rf"^\| `{key}` \| [^|]* \| required \|", page("configuration.md"), re.MULTILINE)


def test_the_lifecycle_table_is_fresh() -> None:
    shown = page("architecture.md")
    assert shown == lifecycle.with_table(shown), f"run: {MADE_BY}"
    with pytest.raises(ValueError, match="marks"):
        lifecycle.with_table("a page without them")


def test_the_table_of_reasons_is_fresh() -> None:
    assert page("bounces.md") == reasons.with_table(page("bounces.md")), f"run: {MADE_BY}"


def test_every_variable_of_the_environment_is_named() -> None:
    variables = re.compile(r"\bPOSTHOUSE_[A-Z_]+\b|\bDATABASE_URL\b|\bKAFKA_BOOTSTRAP_SERVERS\b")
    code = (path.read_text(encoding="utf-8") for path in (ROOT / "posthouse").rglob("*.py"))
    used = {name for text in code for name in variables.findall(text)}
    assert first_cells(section(page("configuration.md"), "Environment")) == used


# ---- written by hand, and complete -------------------------------------------------------------------------


def test_every_metric_is_documented() -> None:
    families = Metrics().registry.collect()
    exposed = {f"{one.name}_total" if one.type == "counter" else one.name for one in families}
    assert len(exposed) >= 9
    assert first_cells(section(page("operations.md"), "Metrics")) == exposed


def test_every_outcome_and_capability_is_explained() -> None:
    tables = first_cells(page("adding-a-relay.md"))
    outcomes = {kind.__name__ for kind in get_args(Outcome)}
    metrics = section(page("operations.md"), "Metrics")
    assert outcomes <= tables
    assert all(name in metrics for name in outcomes)
    assert {name.name.lower() for name in Received} <= set(re.findall(r"\w+", metrics))
    assert set(Capabilities.__dataclass_fields__) <= tables


def commands(of: typer.Typer, prefix: str = "posthouse") -> Iterator[str]:
    for command in of.registered_commands:
        yield f"{prefix} {command.name}"
    for group in of.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance, f"{prefix} {group.name}")


def test_every_command_is_documented_and_every_documented_one_is_there() -> None:
    known = set(commands(program()))
    text = "\n".join(PAGES.values())
    assert len(known) > 10
    assert [name for name in known if name not in text] == []
    words = {name.split()[1] for name in known}
    called = set(re.findall(r"(?:`|^|/)posthouse ([a-z]+)", text, re.MULTILINE))
    assert called - words == set()


def test_every_role_has_its_row() -> None:
    roles = section(page("architecture.md"), "Roles")
    assert {cell.split()[0] for cell in first_cells(roles)} >= {role.value for role in RoleName}


def points_of(path: Path) -> Iterator[str]:
    """The names that a module gives to failpoint() and failpoint_at()."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and "failpoint" in call.func.id:
            match call.args[0]:
                case ast.Constant(value=str() as name):
                    yield name
                case ast.Name(id=constant):
                    yield constants[constant]
                case argument:
                    raise AssertionError(
                        f"{path}: a failpoint's name is not written out: {ast.dump(argument)}"
                    )


def test_every_failpoint_is_documented() -> None:
    points = {name for path in CODE for name in points_of(path)}
    assert len(points) > 15
    table = section(page("architecture.md"), "Failpoints")
    assert {cell for cell in first_cells(table) if "=" not in cell} == points


def test_every_table_is_described() -> None:
    schema = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "posthouse/storage").rglob("*.sql")
    )
    tables = set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?([a-z_]+) \(\n", schema))
    assert len(tables) > 15
    described = section(page("architecture.md"), "Tables")
    bold = [
        name for line in re.findall(r"^- \*\*(.*?)\*\*", described, re.MULTILINE) for name in line.split(",")
    ]
    assert {name.strip(" `") for name in bold} == tables


def test_the_layers_are_those_that_are_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = [[f"posthouse.{name}" for name in re.split(r"\W+", layer)] for layer in contracts[0]["layers"]]
    rows = [
        re.findall(r"`([a-z.]+)`", line.split("|")[1])
        for line in section(page("architecture.md"), "What may import what").splitlines()
        if line.startswith("| `posthouse.")
    ]
    assert [sorted(row) for row in rows] == [sorted(layer) for layer in layers]


# ---- what is referred to -----------------------------------------------------------------------------------

_PATH = re.compile(r"\b(?:posthouse|tests|docs|bench|scripts)/[\w./*-]*[\w/]")
_TEST = re.compile(r"\b(tests/[\w/]+\.py)::(\w+)")
_MODULE = re.compile(r"\bposthouse(?:\.[a-z_]+)+\b")
_LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
_FILES: Final = frozenset({"posthouse.toml", "posthouse.dump"})


@pytest.mark.parametrize("name", PAGES)
def test_paths_are_there(name: str) -> None:
    text = re.sub(r"(?<=[/~.])\S*posthouse/\S*|\S+://\S+", "", PAGES[name])  # /etc/posthouse, URLs
    missing = [path for path in _PATH.findall(text) if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("name", PAGES)
def test_tests_that_prove_something_are_there(name: str) -> None:
    for path, test in _TEST.findall(PAGES[name]):
        assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{test}"


@pytest.mark.parametrize("name", PAGES)
def test_modules_are_there(name: str) -> None:
    named = {module for module in _MODULE.findall(PAGES[name]) if module not in _FILES}
    assert [module for module in named if not is_module(module)] == []


def is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    folder = (ROOT / name).parent
    for target, anchor in _LINK.findall(PAGES[name]):
        path = (folder / target).resolve() if target else ROOT / name
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), f"{target}#{anchor}"


def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_decisions_are_numbered_without_gaps_and_listed() -> None:
    names = sorted(path.name for path in (DOCS / "adr").glob("0*.md"))
    numbers = [int(name[:4]) for name in names]
    assert numbers[0] == 1
    assert all(after == before + 1 for before, after in pairwise(numbers))
    index = page("adr/README.md")
    for name in names:
        title = page(f"adr/{name}").splitlines()[0].removeprefix(f"# {name[:4]}: ")
        assert f"- [{name[:4]}]({name}): {title}\n" in index
        for heading in ("Context", "Decision", "Consequences"):
            assert len(section(page(f"adr/{name}"), heading)) > 80


# ---- the first mail ----------------------------------------------------------------------------------------


def posted_by_curl() -> dict[str, object]:
    found = re.search(r"-d '(\{.*?\})'", PAGES["README.md"], re.DOTALL)
    assert found is not None
    body: dict[str, object] = json.loads(found[1])
    return body


def posted_by_python() -> dict[str, object]:
    found = re.search(r"```python\n(.*?)```", PAGES["README.md"], re.DOTALL)
    assert found is not None
    program = ast.parse(found[1])
    [mail] = [
        node.value
        for node in program.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "mail"
    ]
    body: dict[str, object] = ast.literal_eval(mail)
    return body


@pytest.mark.parametrize("body", [posted_by_curl(), posted_by_python()], ids=["curl", "python"])
def test_the_first_mail_would_be_accepted(body: dict[str, object]) -> None:
    [_, built_in] = re.findall(r"```toml\n(.*?)```", page("configuration.md"), re.DOTALL)
    house = settings_from(tomllib.loads(built_in), "the built-in configuration")
    streams = {
        name: StreamPolicy(
            frozenset(table.from_domains), table.expires_after, shows_other_recipients=True, simulated=True
        )
        for name, table in house.streams.items()
    }
    now = datetime(2026, 11, 24, tzinfo=UTC)
    key = ApiKey(ApiKeyId(uuid7(0, 1)), "first", None, frozenset(), now)
    posted = msgspec.json.decode(msgspec.json.encode(body), type=PostedEmail)
    mail = validate(posted, None, key=key, rules=Rules(streams, 50, check_headers, refuse_breaks), now=now)
    assert len(mail.recipients) == 1

"""The alert rules and the dashboard speak of metrics that are there, and each alert says what to do."""

import json
import re
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import generate_latest

from posthouse.telemetry import Metrics

ROOT: Final = Path(__file__).parents[2]
ALERTS: Final = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
DASHBOARD: Final = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
RUNBOOKS: Final = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
RULES: Final = re.findall(
    r"^ +- alert: (\w+)\n +expr: (.+)\n +for: (\w+)\n +labels:\n +severity: (page|ticket)\n"
    r" +annotations:\n +summary: \"(.+)\"\n +runbook: docs/runbooks\.md#([a-z-]+)$",
    ALERTS,
    re.MULTILINE,
)
EXPRESSIONS: Final = [rule[1].strip("'") for rule in RULES] + [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
]


def exposed() -> set[str]:
    names: set[str] = set()
    for family in Metrics().registry.collect():
        match family.type:
            case "counter":
                names.add(f"{family.name}_total")
            case "histogram":
                names |= {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
            case _:
                names.add(family.name)
    return names


def test_every_rule_is_whole() -> None:
    assert len(RULES) == ALERTS.count("- alert:") >= 10


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_are_balanced_and_name_metrics_that_are_there(expression: str) -> None:
    named = set(re.findall(r"\bposthouse_\w+", expression))
    assert named
    assert named <= exposed()
    for one, other in ("()", "{}", "[]"):
        assert expression.count(one) == expression.count(other)


def test_what_is_looked_for_in_vain_is_shown_only_by_who_measures_it() -> None:
    """A gauge without labels is 0 in every role from the start: it is never absent."""
    shown = generate_latest(Metrics().registry).decode()
    looked_for = re.findall(r"absent\((posthouse_\w+)", " ".join(EXPRESSIONS))
    assert looked_for
    assert [name for name in looked_for if re.search(rf"^{name}\b", shown, re.MULTILINE)] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule[0]))
def test_every_alert_has_its_paragraph(rule: tuple[str, ...]) -> None:
    name, anchor = rule[0], rule[5]
    (title,) = [
        line[3:] for line in RUNBOOKS.splitlines() if line.startswith("## ") and _anchor(line[3:]) == anchor
    ]
    paragraph = RUNBOOKS.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    assert f"`{name}`" in paragraph
    assert "\nLook: " in paragraph
    assert "\nDo: " in paragraph


def test_every_metric_is_on_the_dashboard() -> None:
    shown = set(re.findall(r"posthouse_\w+", " ".join(EXPRESSIONS)))
    unseen = {name for name in exposed() - shown if not name.endswith(("_sum", "_count"))}
    assert unseen == set()


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")

"""Dashboard and alerts ask for metrics and labels that there are, in the values that they take."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client import Counter, Gauge, Histogram
from ruamel.yaml import YAML

from exhook import metrics
from store.decision import Reason

ROOT: Final = Path(__file__).parents[2]
DASHBOARD: Final = json.loads((ROOT / "deploy" / "grafana" / "exhook.json").read_text(encoding="utf-8"))
ALERTS: Final = YAML(typ="safe").load(ROOT / "deploy" / "prometheus" / "exhook-alerts.yaml")
RULES: Final[list[dict[str, Any]]] = ALERTS["groups"][0]["rules"]

VALUES: Final = {
    "result": {"allow", "deny", "pass", "good", "broken", "hit", "miss", "done", "failed"},
    "hook": {"authenticate", "authorize", "publish", "subscribe"},
    "reason": {reason.value for reason in Reason},
}
SCRAPED: Final = {"job", "instance"}
"""Labels that Prometheus adds."""


def made() -> dict[str, set[str]]:
    """Names of samples, and their labels."""
    found: dict[str, set[str]] = {}
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            (family,) = metric.describe()
            labels = set(metric._labelnames)
            if isinstance(metric, Counter):
                found[f"{family.name}_total"] = labels
            elif isinstance(metric, Gauge):
                found[family.name] = labels
            else:
                found |= {f"{family.name}_count": labels, f"{family.name}_sum": labels}
                found[f"{family.name}_bucket"] = labels | {"le"}
    return found


MADE: Final = made()


def panels() -> Iterator[dict[str, Any]]:
    return (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


EXPRESSIONS: Final = [
    *((panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]),
    *((rule["alert"], rule["expr"]) for rule in RULES),
]


@pytest.mark.parametrize(("name", "expression"), EXPRESSIONS, ids=[name for name, _ in EXPRESSIONS])
def test_expressions_ask_for_what_there_is(name: str, expression: str) -> None:
    asked = set(re.findall(r"\bexhook_\w+", expression))
    assert asked <= MADE.keys(), name
    labels = {label for metric in asked for label in MADE[metric]} | SCRAPED
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {label.strip() for label in grouped.split(",")} <= labels, name
    for label, value in re.findall(r'(\w+)!?=~?"([^"$]*)"', expression):
        assert label in labels, name
        assert value in VALUES.get(label, {value}), name
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")


@pytest.mark.parametrize("metric", sorted(MADE))
def test_every_metric_stands_on_the_dashboard(metric: str) -> None:
    if metric.endswith(("_sum", "_count")):
        return
    assert any(metric in target["expr"] for panel in panels() for target in panel["targets"]), metric


def test_legends_name_labels_that_stay() -> None:
    for panel in panels():
        for target in panel["targets"]:
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                grouped = re.findall(r"\bby \(([^)]*)\)", target["expr"])
                kept = {one.strip() for group in grouped for one in group.split(",")}
                (metric,) = set(re.findall(r"\bexhook_\w+", target["expr"]))
                assert label in (kept or MADE[metric]), (panel["title"], label)


def test_panels_stand_apart() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alerts_say_what_mends_them(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["mend"]
    assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_each_alert_has_its_section_and_no_other_does() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").split("\n## Alerts\n")[1].split("\n## ")[0]
    assert re.findall(r"^### (\w+)$", page, re.MULTILINE) == [rule["alert"] for rule in RULES]


def test_alerts_have_names_of_their_own() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)

"""The page of faults cites metrics, log lines and tests that there are."""

import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from pages import ROOT
from prometheus_client import Counter, Gauge, Histogram

from exhook import metrics

TEXT: Final = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
ROWS: Final = [[cell.strip() for cell in line.split("|")[1:-1]] for line in TEXT.splitlines() if line.startswith("| ")][
    1:
]
ELSEWHERE: Final = {
    "up": "Prometheus makes it of every target",
    "exhook-sync apply": "a command",
    "key": "the kind of a metric",
    "api": "the kind of a metric",
    "store_unavailable": "a reason, in the table of reasons",
    "NOT_SERVING": "an answer of gRPC's health service",
    "disconnects_per_second": "a setting",
}
"""What stands in the columns and is no metric, and no line of a log."""


def cited(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@cache
def source(pattern: str, folder: str) -> str:
    """All files below a folder as one text."""
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted(Path(ROOT, folder).rglob(pattern)))


def known_metrics() -> set[str]:
    names = set()
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            (family,) = metric.describe()
            names.add(f"{family.name}_total" if isinstance(metric, Counter) else family.name)
    return names


def test_every_fault_names_what_tells_of_it_and_tests() -> None:
    assert len(ROWS) >= 11
    assert all(len(row) == 5 and all(row) and cited(row[4]) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].replace(" ", "-"))
def test_what_is_cited_is_there(row: list[str]) -> None:
    _fault, _happens, told, ends, tests = row
    code = source("*.py", "exhook") + re.sub(r'"\s*\n\s*"', "", source("*.c", "exhook"))
    for one in cited(told) + cited(ends):
        if one.startswith("exhook_"):
            assert one in known_metrics(), one
        elif one not in ELSEWHERE and one != "Retry-After":
            assert re.search(rf'"[^"\n]*{re.escape(one)}', code), one
    for name in cited(tests):
        assert re.search(rf"def {re.escape(name)}\(", source("test_*.py", "tests")), name

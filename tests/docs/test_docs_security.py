"""The page on security: what it cites is there."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest
from pages import ROOT, prose, sections

from exhook.api.entrance import HANDSHAKE_SECONDS
from exhook.api.protocol import MOST_CONNECTIONS
from exhook.brokers.emqx_cluster import EmqxCluster
from exhook.metrics_port import MOST_READERS
from exhook.settings import Settings
from exhook.transport.limits import Limits
from store.decision import Reason

PAGE: Final = ROOT / "docs" / "security.md"
TEXT: Final = sections(PAGE)
CITED: Final = sorted(set(re.findall(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`", PAGE.read_text(encoding="utf-8"))))


def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("file", "test"), CITED, ids=lambda one: one)
def test_tests_that_are_cited_are_there(file: str, test: str) -> None:
    path = ROOT / file
    assert path.is_file()
    assert not test or test in names_in(path)


def test_settings_and_reasons_that_are_cited_are_there() -> None:
    spans = {span for line in prose(PAGE).splitlines() for span in re.findall(r"`([a-z][a-z_]+)`", line)}
    named = {span for span in spans if "_" in span}
    known = Settings.model_fields.keys() | EmqxCluster.model_fields.keys() | {reason.value for reason in Reason}
    others = {
        "client_ids", "pin_client_ids", "all_topics", "reveal_secrets",  # of the policy
        "max_conn_rate", "flapping_detect", "max_connections",  # of the brokers
        "cache_seconds",  # of the plugin
    }  # fmt: skip
    assert named - known == others


def test_limits_that_are_written() -> None:
    bounds = TEXT["Denial of service"]
    assert f"| {Limits().connections:,}; {MOST_CONNECTIONS:,}; {MOST_READERS} |" in bounds
    assert f"| {HANDSHAKE_SECONDS:g} s |" in bounds
    assert Limits().greeting_seconds == HANDSHAKE_SECONDS
    assert f"a core each; {Settings().hash_queue}" in bounds
    assert f"{Settings().api_rate:g} a second" in bounds
    assert Limits().half_open_seconds == Settings().half_open_seconds == 10


def test_every_failure_names_its_answer_and_what_shows_it() -> None:
    rows = [line for line in TEXT["What answers what when something fails"].splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    for row in rows:
        failure, answer, shown = (cell.strip() for cell in row.strip("|").split("|"))
        assert failure
        assert answer
        assert shown.startswith("`")

"""`bench/sync.py` in small: every step has its row, and did what it should. No figure is judged."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import policies
import steps
import sync
from filling import make_keys
from tables import WrongAnswer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench reads /proc and pins processes to cores")

ROWS = {
    "Sync: a policy of 60 identities and 60 permissions (JSON lines)": [
        "bare: json.loads",
        "bare: json.loads and inserts",
        "validate",
        "apply, the first one",
        "plan, no change",
        "plan, 7 changes",
        "apply, 7 changes",
    ],
    "CONNECTs while 120 records are applied in one transaction, 2 workers": [
        "alone",
        "beside a process that computes",
        "beside the apply",
    ],
}


@pytest.mark.soak
def test_every_table_has_all_its_rows_and_checked_its_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sync, "SECONDS", 0.1)
    figures = tmp_path / "figures.json"
    assert sync.main(["--records", "60", "--changes", "7", "--json", str(figures)]) == 0
    printed = capsys.readouterr().out
    tables: list[dict[str, Any]] = json.loads(figures.read_text())["tables"]
    assert {table["title"]: [row[0] for row in table["rows"]] for table in tables} == ROWS
    for table in tables:
        assert f"## {table['title']}\n" in printed
        assert table["answers"] > 10
        for row in table["rows"]:
            assert all(figure > 0 for figure in row[1:])


def test_a_step_that_fails_gets_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, key_file = make_keys(tmp_path)
    made = policies.make_policy

    def broken(folder: Path, records: int, **more: Any) -> Path:
        path = made(folder, records, **more)
        path.write_text("format: exhook/v0\n")
        return path

    monkeypatch.setattr(steps, "make_policy", broken)
    with pytest.raises(WrongAnswer, match="Sync"):
        steps.Steps(tmp_path, key_file, 20, 5).run(keys)

"""`bench/soak.py` in small: all of it happens, each answer is right; and its verdict on runs that are not well."""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import soak
import soak_fleet
from soak_fleet import Fleet, InForce
from soak_samples import Sample, Samples, findings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench reads /proc")

PACE = soak.Pace(
    minute=1.0, call=0.02, kill=(0.5, 0.8), apply=0.5, serve=0.7, reload=0.3, hostile=0.05, ping=0.2
)  # fmt: skip
WELL = Sample(
    minute=1, calls=1000, wrong=0, failed_at_kills=3, failed=0, p50_ms=1.0, p99_ms=9.0, quiet_p99_ms=8.0,
    control_p99_ms=1.0, pss_mib=100.0, rss_mib=200.0, descriptors=80, processes=4, kills=1, back_seconds=0.2, uneven=0,
    applies=3, reloads=3, hostile=60, sent_away=0, errors=0, scrape_ms=10.0, load_average=1.0,
)  # fmt: skip


async def test_all_happens_and_every_answer_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "CALLERS", 2)
    lines = tmp_path / "soak.jsonl"
    samples = Samples(lines)
    found = await soak.Soak(tmp_path, samples, PACE, users=6).run(2)
    # Of so short a run memory, latency and open files say nothing.
    assert not [one for one in found if "grew" not in one and "p99" not in one and "killed" not in one], found
    assert len(samples.taken) == 2
    assert sum(sample.calls for sample in samples.taken) > 100
    for what in ("kills", "reloads", "hostile"):
        assert sum(getattr(sample, what) for sample in samples.taken), what
    assert [json.loads(line)["minute"] for line in lines.read_text().splitlines()] == [1, 2]
    assert "answers checked" in samples.table("Soak").markdown()


def minutes(*changes: dict[str, Any]) -> list[Sample]:
    return [replace(WELL, minute=minute, **change) for minute, change in enumerate(changes, start=1)]


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (minutes(*({},) * 8), None),
        ([], "no sample"),
        (minutes({}, {"wrong": 1}, {}), "1 wrong answers"),
        (minutes({}, {"failed": 2}, {}), "2 calls failed"),
        (minutes({}, {"errors": 1}), "1 denials because of an error"),
        (minutes({}, {"pss_mib": 110.0}), None),
        (minutes({}, {"pss_mib": 150.0}, {}), None),
        (minutes({}, {"pss_mib": 110.1}), "memory grew from 100.0 to 110.1 MiB"),
        (minutes({}, {"descriptors": 101}), "open descriptors grew from 80 to 101"),
        (minutes({}, {"processes": 5}), "processes grew from 4 to 5"),
        (minutes(*({},) * 6, {"quiet_p99_ms": 20.0}, {"quiet_p99_ms": 20.0}), "p99 rose from 8.0 ms"),
        (minutes(*({},) * 6, *({"quiet_p99_ms": 20.0, "control_p99_ms": 2.5},) * 2), None),
        (minutes(*({},) * 6, {"quiet_p99_ms": 12.0}, {"quiet_p99_ms": 15.0}), None),
    ],
    ids=str,
)
def test_the_verdict(samples: list[Sample], said: str | None) -> None:
    found = list(findings(samples))
    assert len(found) == (said is not None)
    assert said is None or found[0].startswith(said)


def test_what_is_right_while_one_version_takes_the_place_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(soak_fleet, "monotonic", lambda: now)
    versions = InForce()
    now = 10.0
    versions.begins()
    now = 12.0
    versions.is_settled()
    assert versions.between(1.0, 2.0) == [0]
    assert versions.between(9.0, 10.5) == [0, 1]
    assert versions.between(11.0, 30.0) == [0, 1]
    assert versions.between(12.1, 30.0) == [1]
    now = 100.0
    versions.begins()
    assert versions.between(99.0, 99.5) == [1]
    assert versions.between(99.0, 101.0) == [1, 2]


def test_versions_differ_in_some_grants_and_no_others() -> None:
    fleet = Fleet("s", 60)
    changing = [user for user in range(60) if len({fleet.granted(user, version) for version in range(20)}) == 2]
    assert changing == list(range(0, 60, 3))


def test_it_ends_with_1_where_something_is_not_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run(_: soak.Soak, minutes: int) -> list[str]:
        await asyncio.sleep(0)
        return ["something"][: minutes - 1]

    monkeypatch.setattr(soak.Soak, "run", run)
    lines = tmp_path / "soak.jsonl"
    assert soak.main(["--minutes", "1"]) == 0
    assert "All is well." in capsys.readouterr().out
    assert soak.main(["--minutes", "2", "--jsonl", str(lines)]) == 1
    assert "- something" in capsys.readouterr().out
    assert json.loads(lines.read_text()) == {"verdict": ["something"]}

"""`make bench` in small: every table has its rows, and no figure stands for a wrong answer. No figure is judged."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from store.decision import Decision, Reason
from store.records import Action

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import api
import decisions
import pure_core
import reading
import revocation
from filling import fill, make_keys
from http2 import CallFailed
from load import drive
from machine import server_core
from questions import DENY, Question, publish
from servers import noop
from tables import Table, WrongAnswer

from exhook.brokers.mosquitto.running import why_not

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench reads /proc and pins processes to cores")

TINY = decisions.Effort(records=60, active=20, sample=20, rounds=1, starts=1, seconds=0.05, commits=4)

AUTHORIZE = [
    f"{size}, {action}, {answer}"
    for size in ("1", "100", "10,000")
    for action in ("PUBLISH", "SUBSCRIBE")
    for answer in ("allowed", "refused")
]
AUTHENTICATE = [
    f"{mode}, {answer}"
    for mode in ("ORIGIN", "SIGNED", "HASHED (argon2id)")
    for answer in ("allowed", "wrong password")
]
END_TO_END = [
    "authorize, allowed: no-op, grpc.aio",
    "authorize, allowed: no-op, carrier h2",
    "authorize, allowed: exhook, h2",
    "authorize, refused and logged: no-op, grpc.aio",
    "authorize, refused and logged: exhook, h2",
    "authenticate, SIGNED: no-op, grpc.aio",
    "authenticate, SIGNED: exhook, h2",
]
ROWS = {
    "Pure core: authorize, view cached": AUTHORIZE,
    "Pure core: authenticate (select, verify, conclude), view cached": AUTHENTICATE,
    "Reader: one client's view, store of 120 records": [
        "view, cold",
        "view, warm",
        "view of an unknown user, cold",
        "poll, nothing committed",
        "look-up of a row by its key",
    ],
    "End to end through the carrier, one worker": END_TO_END,
    "From commit to decision, 2 workers": ["the commit itself (fsync)", "first worker follows", "all workers follow"],
    "Memory and start, store of 60 identities and 60 permissions": [
        "file, records without their change log",
        "filling in bulk (this bench's own way)",
        "Writing.put, 20 records in one revision",
        "file by Writing.put, with its change log",
        "start to first answer",
        "… of a store of one identity",
        "… ratio",
        "worker after its start",
        "worker after 20 active clients",
        "first call of each, view cold",
        "… p99",
        "… longest",
    ],
}
LEAST_ANSWERS = {"From commit to decision, 2 workers": 2 * TINY.commits, "Memory": TINY.active}


def test_every_table_has_all_its_rows_and_checked_its_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(decisions, "QUICK", TINY)
    assert decisions.main(["--quick", "--json", str(tmp_path / "figures.json")]) == 0
    printed = capsys.readouterr().out
    tables: list[dict[str, Any]] = json.loads((tmp_path / "figures.json").read_text())["tables"]
    assert {table["title"]: [row[0] for row in table["rows"]] for table in tables} == ROWS
    for table in tables:
        assert f"## {table['title']}\n" in printed
        least = next((count for title, count in LEAST_ANSWERS.items() if table["title"].startswith(title)), 1)
        assert table["answers"] >= least
        assert f"{table['answers']:,} answers checked." in printed
        for row in table["rows"]:
            assert f"| {row[0]} |" in printed
            assert all(figure > 0 for figure in row[1:] if not isinstance(figure, str))


API_ROWS = [
    "calls per second",
    "a call, p50, ms",
    "a call, p99, ms",
    "CPU of the API process a call, µs",
    "revisions (commits)",
    "memory of the API process before, MiB",
    "memory of the API process after, MiB",
    "memory of the worker after, MiB",
    "authorize, p50 before, ms",
    "authorize, p50 meanwhile, ms",
    "authorize, p50, ratio",
    "authorize, p99 before, ms",
    "authorize, p99 meanwhile, ms",
]


def test_the_table_of_the_management_api_has_all_its_rows_and_checked_its_answers() -> None:
    table = api.run(api.Effort(calls=100, connections=8, records=300, calm_seconds=0.1))
    assert [row[0] for row in table.rows] == API_ROWS
    assert all(isinstance(figure, int | float) and figure > 0 for _, figure in table.rows)
    # Every call, every identity counted in the store, and some decisions.
    assert table.answers > 101


def test_an_upload_that_is_refused_gets_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "INSTANCE", "mqtt-another")
    with pytest.raises(WrongAnswer, match="refused"):
        api.run(api.Effort(calls=4, connections=2, records=300, calm_seconds=0.0))
    assert not list(tmp_path.iterdir())


def test_the_load_does_not_count_a_wrong_answer() -> None:
    with noop("aio", core=server_core()) as server, pytest.raises(WrongAnswer, match="no-op"):
        drive(server, [publish(1, allowed=True), publish(1, allowed=False)], streams=2, seconds=0.05)


def test_the_load_does_not_count_a_call_that_is_refused() -> None:
    """A status without a message is no answer, be the expected one what it may."""
    unknown = Question("/emqx.exhook.v3.HookProvider/OnNothing", b"", DENY)
    with noop("h2", core=server_core()) as server, pytest.raises((WrongAnswer, CallFailed)):
        drive(server, [unknown], streams=2, seconds=0.05)


@pytest.mark.parametrize("allow", [True, False])
def test_a_core_that_decides_wrong_gets_no_figures(monkeypatch: pytest.MonkeyPatch, allow: bool) -> None:
    monkeypatch.setattr(pure_core, "authorize", lambda *_: Decision(allow, Reason.ALLOWED, revision=1))
    with pytest.raises(WrongAnswer, match="authorize"):
        pure_core.authorizing(rounds=1)


def test_a_proof_that_is_none_gets_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pure_core, "verify", lambda *_: "1")
    with pytest.raises(WrongAnswer, match="authenticate"):
        pure_core.authenticating(rounds=1)


def test_views_that_are_wrong_get_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, _ = make_keys(tmp_path)
    fill(tmp_path / "store.db", keys, 20)
    monkeypatch.setattr(reading, "topic_of", lambda _: "fleet/u0000001/state/temperature")
    with pytest.raises(WrongAnswer, match="Reader"):
        reading.reading(tmp_path / "store.db", keys, 20, rounds=1)


@pytest.mark.parametrize("given", [[True], [True, True], [True, False, False]])
def test_a_table_takes_right_answers_alone(given: list[bool]) -> None:
    table = Table("Some", ("what",))
    with pytest.raises(WrongAnswer, match="Some"):
        table.check(given, [True, False])
    assert table.answers == 0


def test_the_naive_scan_is_no_friend_of_the_core() -> None:
    """What the core is compared with comes to the same answers by another way: the algebra on every filter."""
    view = [(permission.pattern().widest, permission) for permission in map(pure_core.grant, range(30))]
    assert pure_core.naive_scan(view, Action.PUB, "plant/line0/state")
    assert pure_core.naive_scan(view, Action.SUB, "plant/line1/+/temp")
    assert not pure_core.naive_scan(view, Action.SUB, "plant/line1/#")
    assert not pure_core.naive_scan(view, Action.PUB, "plant/line30/state")


def test_from_a_revocation_to_the_end_of_the_session() -> None:
    table = revocation.run(commits=2, applies=1, edits=1)
    begun = ["COMMIT of a write", "start of `exhook-sync apply`", "edit of a watched policy"]
    ends = [] if why_not() else ["DISCONNECT at the client of Mosquitto"]
    assert [row[:2] for row in table.rows] == [(one, end) for one in begun for end in (*ends, "DELETE at EMQX's API")]
    assert table.answers == 4

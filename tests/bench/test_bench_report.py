"""The report in small, the page it makes, and that no figure stands for a wrong answer. No figure is judged."""

import gzip
import json
import shutil
import socket
import sys
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from google.protobuf.message import Message

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import baselines
import contenders
import h2load
import hot_path
import open_loop
import page
import plots
import report
import sizing
import stores
from carrier import ALLOWED, CONNECTING, REFUSED, carrying, check, kinds
from cold import FIRST_CPU, LATER_CPU
from http2 import CallFailed
from load import ask_once, at_rate, drive
from machine import server_core
from questions import ALLOW, AUTHENTICATE, AUTHORIZE, Question, connect, publish
from results import Results
from servers import Server, noop, saying_its_port
from tables import Table, WrongAnswer

from protos import exhook_v3_pb2

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench reads /proc and pins processes to cores")

TINY = report.Effort(
    records=60, rounds=1, seconds=0.05, rates=(200, 400), rate_rounds=1, rate_seconds=0.05, memory=(60,), active=20,
    cold=(60,), starts=1, commits=4,
)  # fmt: skip
TABLES = {"hot-path", "open-loop", "memory", "cold", "following", "passwords"}
"""With h2load, which is not everywhere, one more."""
RECORDED = page.ROOT / "tests" / "data" / "emqx-5.10.0.jsonl.gz"
FIGURES: dict[str, Any] = json.loads(page.FIGURES.read_text(encoding="utf-8"))


@pytest.fixture
def own_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(stores, "KEPT", tmp_path / "stores")
    return tmp_path / "stores"


@pytest.fixture
def no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of others take a minute to build, where they are not built yet."""
    monkeypatch.setattr(baselines, "cpp", lambda: None)
    monkeypatch.setattr(baselines, "go", lambda: None)
    monkeypatch.setattr(h2load, "_TRY", 100)


@pytest.fixture
def liar() -> Iterator[Server]:
    """Allows everything, and claims to decide."""
    with noop("h2", core=server_core()) as server:
        yield replace(server, name="exhook, h2", decides=True)


@pytest.mark.soak
@pytest.mark.timeout(300)  # it starts ten servers
@pytest.mark.usefixtures("own_stores", "no_others")
def test_the_report_has_every_table_and_makes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "QUICK", TINY)
    monkeypatch.setattr(contenders, "CARRIERS", ("h2",))
    for name, path in (("PAGE", tmp_path / "page.md"), ("FOLDER", tmp_path), ("FIGURES", tmp_path / "figures.json")):
        monkeypatch.setattr(page, name, path)
    shutil.copyfile(page.ROOT / "docs" / "performance.md", tmp_path / "page.md")
    options = ["--json", str(tmp_path / "run.json"), "--markdown", str(tmp_path / "run.md")]
    assert report.main(["--quick", "--write", *options]) == 0

    printed = capsys.readouterr().out
    assert (tmp_path / "run.md").read_text() == printed.removesuffix("\n")
    said = json.loads((tmp_path / "run.json").read_text())
    assert TABLES <= said["tables"].keys() <= TABLES | {"h2load"}
    for table in said["tables"].values():
        assert f"## {table['title']}\n" in printed
        assert table["answers"] > 0
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
    assert [row[0].partition(": ")[2] for row in said["tables"]["hot-path"]["rows"] if row[0].startswith(ALLOWED)][
        -2:
    ] == ["no-op, carrier h2", "exhook, h2"]
    assert any(sentence.startswith(baselines.CPP_NAME) for sentence in said["left_out"])
    assert all(f"- {sentence}\n" in printed for sentence in said["left_out"])

    written = json.loads((tmp_path / "figures.json").read_text())
    text = (tmp_path / "page.md").read_text()
    assert written["tables"] == said["tables"]
    assert text == page.page(text, written)
    assert {path.name for path in tmp_path.glob("*.svg")} == {"latency.svg", "memory.svg"}


def test_the_page_shows_the_committed_figures() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert text == page.page(text, FIGURES), "run `python bench/page.py`"
    for name, svg in page.plots(FIGURES).items():
        assert (page.FOLDER / name).read_text(encoding="utf-8") == svg, "run `python bench/page.py`"


def test_the_page_shows_every_table_of_the_figures() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert [name for name in FIGURES["tables"] if f"<!-- figures: {name} -->" not in text] == []


def test_a_figure_that_changes_changes_the_page() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    changed: dict[str, Any] = json.loads(json.dumps(FIGURES))
    changed["tables"]["hot-path"]["rows"][-1][1] += 1000.0
    assert page.page(text, changed) != text


def test_a_server_that_decides_wrong_ends_the_run(liar: Server) -> None:
    refused = {REFUSED: kinds(20)[REFUSED]}
    with pytest.raises(WrongAnswer, match="exhook"):
        carrying([liar], refused, rounds=1, seconds=0.05)
    with pytest.raises(WrongAnswer, match="exhook"):
        check(liar, refused[REFUSED])
    with pytest.raises(WrongAnswer, match="exhook"):
        drive(liar, refused[REFUSED], 2, 0.05)
    with pytest.raises(WrongAnswer, match="exhook"):
        ask_once(liar, refused[REFUSED], 2)
    with pytest.raises(WrongAnswer, match="exhook"):
        at_rate(liar, refused[REFUSED], 100, 0.05)


def test_one_wrong_answer_among_right_ones_ends_the_run(liar: Server) -> None:
    questions = [publish(number, allowed=number != 77) for number in range(100)]
    with pytest.raises(WrongAnswer, match="u0000077"):
        ask_once(liar, questions, 4)


def test_an_open_loop_finds_wrong_answers_at_every_rate(liar: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_loop, "publish", lambda number, **_: publish(number, allowed=False))
    with pytest.raises(WrongAnswer, match="exhook"):
        open_loop.over_load([liar], 20, (100,), 1, 0.05)


@pytest.mark.skipif(shutil.which(h2load.PROGRAM) is None, reason="needs nghttp2's h2load")
def test_h2load_finds_answers_of_another_length(liar: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h2load, "_TRY", 100)
    question = publish(1, allowed=True)
    assert h2load.press(liar, question, 1, 0.01, tmp_path).answers >= 100
    with pytest.raises(WrongAnswer, match="h2load"):
        h2load.press(liar, replace(question, answer=ALLOW + b"\0"), 1, 0.01, tmp_path)
    unknown = Question("/emqx.exhook.v3.HookProvider/OnNothing", b"", ALLOW)
    with pytest.raises(WrongAnswer, match="h2load"):
        h2load.press(liar, unknown, 1, 0.01, tmp_path)


def test_a_server_that_does_not_answer_is_not_kept_up_with() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        server = Server("deaf", deaf.getsockname()[1], (), 0.0)
        assert at_rate(server, [publish(1, allowed=True)], 100, 0.02) is None


def test_a_status_without_a_message_is_no_answer(liar: Server) -> None:
    with pytest.raises(CallFailed, match="status alone"):
        drive(liar, [Question("/emqx.exhook.v3.HookProvider/OnNothing", b"", ALLOW)], 1, 0.05)


def test_every_call_is_made_once(liar: Server) -> None:
    questions = [publish(number, allowed=True) for number in range(500)]
    load = ask_once(liar, questions, 3)
    assert (load.answers, len(load.latencies)) == (500, 500)


def test_a_rate_is_kept(liar: Server) -> None:
    load = at_rate(liar, [publish(1, allowed=True)], 200, 0.1)
    assert load is not None
    assert load.answers == 20
    assert load.calls_per_second < 300


def test_what_is_missing_is_named_with_what_brings_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "BUILT", tmp_path / "built")
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    left_out: list[str] = []
    with baselines.baselines(tmp_path, left_out, core=server_core()) as servers:
        assert servers == []
    assert [name in sentence for name, sentence in zip(
        ("libgrpc++-dev", "golang-google-grpc-dev", "nghttp2-server"), left_out, strict=True
    )] == [True] * 3  # fmt: skip


def test_h2load_that_is_missing_is_named(liar: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    results = Results("Some")
    hot_path.run(results, [replace(liar, name="no-op", decides=False)], 20, 1, 0.02)
    assert results.tables.keys() == {"hot-path"}
    assert [h2load.PACKAGE in sentence for sentence in results.left_out] == [True]


def test_a_store_is_made_once_and_again_when_its_making_changes(
    own_stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = stores.kept(20, tmp_path, "first")
    made = first.path.resolve()
    assert stores.kept(20, tmp_path, "second").path.resolve() == made
    monkeypatch.setattr(stores, "_digest", lambda: "another")
    assert stores.kept(20, tmp_path, "third").path.resolve() != made
    assert not made.exists()
    assert len(list(own_stores.iterdir())) == 1


@pytest.mark.usefixtures("own_stores")
def test_a_store_that_does_not_fit_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_BYTES_A_RECORD", 2**60)
    with pytest.raises(OSError, match="which are not free"):
        stores.kept(20, tmp_path)


@pytest.mark.parametrize("source", [baselines.CPP_SOURCE, baselines.GO_SOURCE], ids=["cpp", "go"])
def test_a_server_of_others_answers_right_where_it_is_built(source: Path) -> None:
    """No build here: `make bench` builds."""
    program = baselines._place(source)
    if not program.exists():
        pytest.skip("it is not built yet; `make bench-hot-path` does it")
    with saying_its_port("no-op", str(program), cores=(server_core(),)) as server:
        question = publish(1, allowed=True)
        assert check(server, [question]) == ask_once(server, [question], 1).answers == 1


def test_a_fleet_is_sized_by_the_formulas_of_the_page() -> None:
    hot = Table("", ("call, server", "CPU µs/call calm", "CPU µs/call"))
    for kind, calm in ((ALLOWED, 100.0), (REFUSED, 150.0), (CONNECTING, 200.0)):
        hot.add(f"{kind}: exhook, h2", calm, calm / 2)
    cold = Table("", ("what", "10"))
    cold.add(FIRST_CPU, 500.0)
    cold.add(LATER_CPU, 100.0)
    memory = Table("", ("identities", "active", "RSS MiB", "PSS MiB", "private MiB"))
    memory.add(10, 0, 50.0, 40.0, 30.0)
    memory.add(10, 1000, 60.0, 50.0, 40.0)
    passwords = Table("", ("sign mode, answer", "µs"), "", [("HASHED (argon2id), allowed", 30_000.0)])
    tables = {"hot-path": hot, "cold": cold, "memory": memory, "passwords": passwords}
    small, _, cached, large = sizing.fleets(tables, 100_000).rows
    # 50 calls of 200 µs, 50 times 2 and 1,000 of 100 µs
    assert list(small[1:]) == [1_150, pytest.approx(0.12), 1, 8, pytest.approx(150)]
    # 100,000 devices ÷ 60 s, not 10,000 publishes
    assert cached[1] == pytest.approx(500 * 3 + 100_000 / 60)
    # 1,000,000 devices: many of a worker's calls are first ones
    assert isinstance(large[3], int)
    known = 100_000 / (1_000_000 / large[3])
    calls = 1_000 * 3 + 1_000_000 / 60
    warm = (1_000 * 200 + (2_000 + 1_000_000 / 60) * 100) / 1e6
    assert large[2] == pytest.approx(warm + calls * max(0, 1 - known) * 400 / 1e6)
    assert list(sizing.costs(tables).rows[-1])[1:] == [30_000.0, 30_000.0, pytest.approx(20)]
    assert list(sizing.costs(tables).rows[0]) == [ALLOWED, 50.0, 100.0, pytest.approx(6_000)]


@pytest.mark.parametrize(("workers", "connections"), [(1, 8), (2, 8), (3, 9), (5, 10), (8, 8), (12, 12)])
def test_pool_size_is_a_multiple_of_the_workers(workers: int, connections: int) -> None:
    assert sizing.pool_size(workers) == connections


@pytest.mark.parametrize("logarithmic", [True, False])
def test_a_plot_is_well_formed_and_always_the_same(logarithmic: bool) -> None:
    series = [plots.Series("a < b", [0.2, None, 30.0]), plots.Series("b", [1.0, 2.0, 3.0], 1, dashed=True)]
    made = plots.plot("A & B", "rate", ["1", "2", "3"], "ms", series, logarithmic=logarithmic)
    assert made == plots.plot("A & B", "rate", ["1", "2", "3"], "ms", series, logarithmic=logarithmic)
    root = ET.fromstring(made)  # noqa: S314 - our own
    assert len(root.findall(".//{*}circle")) == 5
    heights = [float(circle.attrib["cy"]) for circle in root.findall(".//{*}circle")]
    assert heights[0] > heights[1]
    assert all(plots.TOP <= height <= plots.HEIGHT - plots.BOTTOM for height in heights)


@pytest.mark.parametrize(
    ("path", "made", "request_type"),
    [
        (AUTHORIZE, publish(7, allowed=True), exhook_v3_pb2.ClientAuthorizeRequest),
        (AUTHENTICATE, connect(7), exhook_v3_pb2.ClientAuthenticateRequest),
    ],
    ids=["authorize", "authenticate"],
)
def test_questions_have_the_fields_of_recorded_requests(path: str, made: Question, request_type: type[Message]) -> None:
    recorded = [json.loads(line) for line in gzip.decompress(RECORDED.read_bytes()).splitlines()]
    shapes = [_shape(request_type.FromString(b64decode(one["request"]))) for one in recorded if one["rpc"] == path]
    assert made.path == path
    assert _shape(request_type.FromString(made.message)) in shapes


def _shape(message: Message) -> set[str]:
    """The names of the fields that are set, and of those within."""
    found = set()
    for field, value in message.ListFields():
        found.add(field.name)
        if isinstance(value, Message):
            found |= {f"{field.name}.{name}" for name in _shape(value)}
    return found

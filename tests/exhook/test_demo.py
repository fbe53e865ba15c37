"""`exhook demo`: real clients against a real server and broker, every line compared with the policy."""

import io
import json
import os
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from mosquitto_under_test import needs_mosquitto
from server_under_test import PATIENCE

from exhook import cli
from exhook.brokers.mosquitto.running import why_not
from exhook.demo.elsewhere import Elsewhere
from exhook.demo.outcome import Outcome
from exhook.demo.running import _stay
from exhook.demo.script import SCRIPT, Login
from exhook.demo.server import DemoServer
from exhook.demo.table import print_table
from exhook.faults import CannotStart
from store.decision import Reason

POLICY = str(files("exhook.demo") / "policy.yaml")

KEYS = ["title", "client_id", "tried", "happened", "reason", "rule", "as_the_policy_says", "broker"]


def demo(*arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "exhook", "demo", *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def outcome(**fields: Any) -> Outcome:
    said: dict[str, Any] = {
        "title": "a sensor", "client_id": "c", "tried": "connect as sensors", "happened": "let in",
        "reason": "allowed", "rule": "identity sensors [demo policy.yaml:13]", "as_the_policy_says": True,
    }  # fmt: skip
    return Outcome(**(said | fields))


class TestRun:
    @pytest.mark.parametrize("broker", ["embedded", pytest.param("mosquitto", marks=needs_mosquitto)])
    def test_every_line_is_as_the_policy_says(self, tmp_path: Path, broker: str) -> None:
        """Settings of another server, in the environment, change nothing."""
        others = {"EXHOOK_INSTANCE": "mqtt-other", "EXHOOK_CONFIG": "absent.toml", "EXHOOK_DECISIONS": "none"}
        done = demo("--json", "--broker", broker, cwd=tmp_path, **others)
        assert done.returncode == 0, done
        outcomes = json.loads(done.stdout)
        assert [list(one) for one in outcomes] == [KEYS] * len(SCRIPT)
        assert not list(tmp_path.iterdir())
        for one, step in zip(outcomes, SCRIPT, strict=True):
            assert one["as_the_policy_says"], one
            assert (one["title"], one["client_id"], one["reason"]) == (step.title, step.login.client_id, step.reason)
            assert one["happened"] in (
                {"let in", "subscribed", "delivered"} if step.allowed else {"refused", "not delivered"}
            )
            if step.rule:
                assert re.fullmatch(rf"\w+ {step.rule} \[demo policy\.yaml:\d+\]", one["rule"])
                assert step.rule in _line(one["rule"])
            else:
                assert one["rule"] == ""

    def test_another_policy_is_told_from_the_script(self, tmp_path: Path) -> None:
        folder = tmp_path / "kept"
        folder.mkdir()
        text = Path(POLICY).read_text(encoding="utf-8")
        changed = text.replace('both: ["plant/office/vault/#"]', 'both: ["elsewhere/#"]').replace(
            'subscribe: ["announce/#"]', 'subscribe: ["announce/+"]'
        )
        assert changed != text
        (folder / "policy.yaml").write_text(changed, encoding="utf-8")
        done = demo("--folder", "kept", "--broker", "embedded", cwd=tmp_path, COLUMNS="80", NO_COLOR="1")
        assert done.returncode == 1, done
        lines = done.stdout.splitlines()
        wrong = [line for line in lines if line.startswith(" NO ")]
        assert [re.split(r" {2,}", line)[1:3] for line in wrong] == [
            ["… hears announcements", "refused"],
            ["… subscribes over the vault", "subscribed"],
        ]
        assert lines[-1] == f"{len(SCRIPT) - 2} of {len(SCRIPT)} went as the policy says; those marked NO did not."
        assert (folder / "policy.yaml").read_text(encoding="utf-8") == changed
        assert (folder / "exhook.db").exists()

    def test_a_server_that_does_not_start_says_why(self, tmp_path: Path) -> None:
        folder = tmp_path / "kept"
        folder.mkdir()
        (folder / "policy.yaml").write_text("format: exhook/v1\ncolour: red\n")
        done = demo("--folder", "kept", "--broker", "embedded", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (64, "")
        assert done.stderr.startswith("the server did not start:\n")
        assert "policy.yaml:2:1: " in done.stderr
        assert "Traceback" not in done.stderr


def test_a_server_that_dies_while_it_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policy.yaml").write_bytes(Path(POLICY).read_bytes())
    with DemoServer(tmp_path, listen="127.0.0.1:0", embedded=0) as server:
        server.process.kill()
        with pytest.raises(CannotStart, match=r"the server ended by itself \(exit code -9\)"):
            _stay(server, tmp_path)
    assert "The server goes on" in capsys.readouterr().out


class TestElsewhere:
    """Against a broker that is there already."""

    def test_every_line_is_as_the_policy_says(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "policy.yaml").write_bytes(Path(POLICY).read_bytes())
        with DemoServer(tmp_path, listen="127.0.0.1:0", embedded=0) as server:
            assert cli.run(["demo", "--against", f"127.0.0.1:{server.broker_port}", "--json"]) == 0
            said = json.loads(capsys.readouterr().out)
            assert [one["as_the_policy_says"] for one in said] == [True] * len(SCRIPT)
            assert {one["reason"] for one in said} == {""}

    def test_another_policy_is_told_from_the_script(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = Path(POLICY).read_text(encoding="utf-8")
        (tmp_path / "policy.yaml").write_text(text.replace('subscribe: ["announce/#"]', 'subscribe: ["other/#"]'))
        with DemoServer(tmp_path, listen="127.0.0.1:0", embedded=0) as server:
            assert cli.run(["demo", "--against", f"127.0.0.1:{server.broker_port}"]) == 1
        assert f"{len(SCRIPT) - 1} of {len(SCRIPT)} went as the policy says" in capsys.readouterr().out

    def test_nobody_is_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=rf"127\.0\.0\.1:{port}: no MQTT broker answers there"):
            Elsewhere("127.0.0.1", port, patience_seconds=0.0).__enter__()

    def test_it_says_for_what_it_waits_and_goes_on_once_that_is_there(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("exhook.demo.elsewhere._PAUSE_SECONDS", 0.01)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        (tmp_path / "policy.yaml").write_bytes(Path(POLICY).read_bytes())
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(Elsewhere("127.0.0.1", port, patience_seconds=60.0).__enter__)
            said = ""
            while not said.endswith("\n"):
                assert not waiting.done()
                said += capsys.readouterr().err
            with DemoServer(tmp_path, listen="127.0.0.1:0", embedded=port):
                waiting.result(timeout=PATIENCE)
        assert said.startswith(f"127.0.0.1:{port}: no MQTT broker answers there; is the address right")
        assert said.endswith("Waiting 60 s\n")

    def test_a_broker_with_another_policy_lets_nobody_in(self, tmp_path: Path) -> None:
        text = Path(POLICY).read_text(encoding="utf-8")
        (tmp_path / "policy.yaml").write_text(text.replace("literal: demo-dashboard", "literal: another"))
        with (
            DemoServer(tmp_path, listen="127.0.0.1:0", embedded=0) as server,
            pytest.raises(CannotStart, match="refuses 'dashboard' of the demo's policy; is its server attached"),
        ):
            Elsewhere("127.0.0.1", server.broker_port, patience_seconds=0.0).__enter__()

    def test_an_address_that_is_none(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.run(["demo", "--against", "cluster"]) == 64
        assert capsys.readouterr().err == "--against: 'cluster' is no ADDRESS:PORT; write 127.0.0.1:9000, say\n"


class TestBroker:
    """Which broker the clients go through, where something is missing."""

    @pytest.fixture
    def nowhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("exhook.brokers.mosquitto.running.installed", lambda: None)

    @pytest.mark.usefixtures("nowhere")
    def test_mosquitto_is_not_installed(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert cli.run(["demo", "--broker", "mosquitto"]) == 64
        assert capsys.readouterr().err == "Mosquitto is not installed; install it, or say --broker embedded\n"
        asked: list[bool] = []

        def run_demo(*, mosquitto: bool, **_: object) -> int:
            asked.append(mosquitto)
            return 0

        monkeypatch.setattr("exhook.demo.running.run_demo", run_demo)
        assert cli.run(["demo"]) == 0
        assert asked == [False]
        assert "the clients go through the embedded broker" in capsys.readouterr().err

    @pytest.mark.parametrize("compiler", ["nonesuch", "false"])
    def test_there_is_no_compiler_that_works(self, monkeypatch: pytest.MonkeyPatch, compiler: str) -> None:
        monkeypatch.setattr("exhook.brokers.mosquitto.running.installed", lambda: "/usr/sbin/mosquitto")
        monkeypatch.setenv("CC", compiler)
        assert why_not().startswith("there is no C compiler")


class TestTable:
    """What is printed, without a server."""

    @pytest.fixture
    def outcomes(self) -> list[Outcome]:
        """What a good run gives: the longest lines are in it."""
        return [
            outcome(
                title=step.title,
                client_id=step.login.client_id,
                tried=f"connect as {step.login.username or 'nobody'}"
                if step.hook == "authenticate"
                else f"{step.hook} {step.topic}",
                happened="not delivered",
                reason=step.reason,
                rule=f"permission {step.rule} [demo policy.yaml:{10 + number}]" if step.rule else "",
            )
            for number, step in enumerate(SCRIPT)
        ]

    @pytest.mark.parametrize("columns", [80, 120])
    def test_each_step_takes_two_lines(
        self, outcomes: list[Outcome], columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        print_table(outcomes, "title")
        title, _, head, rule, *body, _, summary = capsys.readouterr().out.splitlines()
        assert title == "title"
        assert head.split() == ["who", "tried", "what", "what", "came", "of", "it", "by", "which", "rule"]
        assert rule.strip(" ─") == ""
        assert len(body) == 2 * len(SCRIPT)
        assert max(map(len, body)) <= min(columns, 80)
        for number, step in enumerate(SCRIPT):
            first, second = body[2 * number : 2 * number + 2]
            assert first.startswith(f" ok  {step.title}")
            assert second.split()[-2 if step.rule else -1] == step.reason
            assert (f"policy.yaml:{10 + number}" in second) is bool(step.rule)
        assert summary == f"{len(SCRIPT)} of {len(SCRIPT)} went as the policy says."

    def test_what_went_wrong_is_marked(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_table(
            [outcome(), outcome(as_the_policy_says=False, happened="no answer", reason="not logged", rule="")], ""
        )
        out = capsys.readouterr().out
        assert "\n NO  a sensor" in out
        assert "1 of 2 went as the policy says; those marked NO did not." in out

    def test_square_brackets_are_no_markup(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_table([outcome(title="[bold]x[/bold]", client_id="[red]", rule="identity [a] [b] [demo p:1]")], "t")
        out = capsys.readouterr().out
        assert "[bold]x[/bold]" in out
        assert "[red] as sensors" in out

    def test_no_colour_where_none_is_wanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        monkeypatch.setenv("TERM", "xterm-256color")
        for no_color, coloured in (("", True), ("1", False)):
            monkeypatch.setenv("NO_COLOR", no_color)
            with monkeypatch.context() as patch:
                stream = Terminal()
                patch.setattr("sys.stdout", stream)
                print_table([outcome(as_the_policy_says=False)], "t")
            assert ("\x1b[31m" in stream.getvalue() or "\x1b[1;31m" in stream.getvalue()) is coloured


class TestScript:
    def test_the_script_tries_what_it_should(self) -> None:
        reasons = {step.reason for step in SCRIPT}
        assert reasons >= {
            Reason.ALLOWED, Reason.WRONG_PASSWORD, Reason.UNKNOWN_IDENTITY, Reason.BLACKLISTED, Reason.CLIENT_ID_OWNED,
            Reason.DENIED, Reason.NO_MATCH,
        }  # fmt: skip
        assert {(step.hook, step.allowed) for step in SCRIPT} == {
            (hook, allowed) for hook in ("authenticate", "publish", "subscribe") for allowed in (True, False)
        }

    def test_passwords_do_not_show(self) -> None:
        assert "canary" not in repr(Login("u", "c", b"canary"))
        assert "demo-operator" not in repr(SCRIPT)


def _line(rule: str) -> str:
    """The line of the policy that a rule says it comes from, and the few before it, where its id may stand."""
    number = int(rule.rpartition(":")[2].removesuffix("]"))
    return "\n".join(Path(POLICY).read_text(encoding="utf-8").splitlines()[max(0, number - 5) : number])

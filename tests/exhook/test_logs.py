"""What is logged, and that no client decides how it reads."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from worker_under_test import INSTANCE, Serve, Store, identity, instance, permission, secret

from exhook.logs import (
    SECRET_FIELDS,
    DecisionLog,
    configure,
    decision_fields,
    drop_secrets,
    error_place,
    logger,
    rule_name,
)
from exhook.settings import Settings
from protos import exhook_v3_pb2
from store.decision import Decision, Reason
from store.records import BlacklistEntry, Effect, Instance, NoMatch, SignMode
from store.view import Client, Listener

KNOWN = {
    "decision_id", "hook", "result", "reason", "rule", "client_id", "username", "address", "listener", "topic",
    "nearest", "secret_id", "revision", "node", "took_ms",
}  # fmt: skip
"""Every field that a decision's line may have beside those of each line."""

EVERY_LINE = {"event", "level", "timestamp"}

NASTY = (
    "a\nb", "a\rb", 'a\r\n{"event": "decision", "result": "allow"}', "\x1b[2J\x1b[31mred", "\x9b31m", "\x08\x08\x7f",
    "a\u2028b\u2029c\x85d\x0b\x0c", "\u202egnp.exe", "\u200b\ufeff", "x result=allow reason=allowed",
    "' result='allow", '" result="allow', "\\n", "\ud800", "\U000e0001", "[bold]x[/bold]", "%s %(x)s {0} {event}",
    "=", " ", "",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(log_format: str, event: str = "decision", *, to: io.StringIO | None = None, **fields: Any) -> str:
    """What one line looks like."""
    stream = io.StringIO() if to is None else to
    with redirect_stderr(stream):
        configure(Settings(log_format=log_format))  # type: ignore[arg-type] # from a list of its values
        logger.info(event, **fields)
    return stream.getvalue()


def decision(reason: Reason = Reason.NO_MATCH, **more: Any) -> Decision:
    return Decision(allow=reason is Reason.ALLOWED, reason=reason, revision=7, **more)


def write(log: DecisionLog, made: Decision, client_id: str = "c") -> None:
    client = Client("u", client_id, Listener("tcp", INSTANCE), address="10.0.0.1")
    log.write(
        decision_fields(made, hook="publish", client=client, node="n", took_ms=1.23456, decision_id="0123", topic="a/b")
    )


class TestFields:
    async def test_a_decisions_line_has_known_fields_alone(self, serve: Serve, store: Store) -> None:
        store.put(
            identity("alice", secrets=(secret("first", b"right"),)),
            identity("signed", b"key", mode=SignMode.SIGNED, client_ids_prefix="x-"),
            permission("alice", "a/#", id="own"),
            permission("alice", "a/secret", effect=Effect.DENY),
            permission("alice", "b/${cn}/#"),
            BlacklistEntry(instance=INSTANCE, client_id="stolen", reason="canary", source="policy"),
        )
        with structlog.testing.capture_logs() as lines:
            async with serve(decisions="all") as served:
                for client_id, username, password in (
                    ("c", "alice", b"right"), ("c", "alice", b"canary"), ("c", "nobody", b"canary"),
                    ("stolen", "alice", b"right"), ("c", "signed", b"canary"), ("c", "", b""), (b"\xff", "x", b"x"),
                ):  # fmt: skip
                    await served.authenticate(client_id, username, password, sockport=1883, cn=b"canary")
                for topic in ("a/b", "a/secret", "b/x", "x", "$exhook/x", b"\xff"):
                    for action in ("PUBLISH", "SUBSCRIBE"):
                        await served.authorize("c", "alice", action, topic, cn=b"+")
        decisions = [line for line in lines if line["event"] == "decision"]
        assert len(decisions) == 19
        for line in decisions:
            assert line.keys() <= KNOWN | {"event", "log_level"}, line
            assert line.keys() >= {"decision_id", "hook", "result", "reason", "revision", "node", "took_ms"}
            assert re.fullmatch(r"[0-9a-f]{16}", line["decision_id"])
            assert line["reason"] in set(Reason)
        assert {name for line in decisions for name in line} == KNOWN | {"event", "log_level"}
        assert len({line["decision_id"] for line in decisions}) == len(decisions)
        assert "canary" not in repr(lines)

    def test_a_line_tells_time_level_and_what_is_bound(self) -> None:
        stream = io.StringIO()
        with redirect_stderr(stream):
            configure(Settings(log_format="json"), worker="3")
            write(DecisionLog(Settings(decisions="all")), decision())
        line = json.loads(stream.getvalue())
        assert line.keys() - KNOWN == EVERY_LINE | {"worker"}
        assert (line["worker"], line["level"], line["took_ms"], line["client_id"]) == ("3", "info", 1.235, "c")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", line["timestamp"])

    @pytest.mark.parametrize(
        ("made", "result"),
        [
            (decision(Reason.ALLOWED), "allow"),
            (decision(Reason.DENIED), "deny"),
            (decision(Reason.NO_MATCH, passed_on=True), "pass"),
        ],
    )
    def test_the_result(self, made: Decision, result: str) -> None:
        with structlog.testing.capture_logs() as lines:
            write(DecisionLog(Settings(decisions="all")), made)
        assert lines[0]["result"] == result

    def test_a_rule_is_named_by_id_or_key_with_owner_and_place(self) -> None:
        assert rule_name(None) is None
        named = permission("alice", "a/#", id="own", source="plant", origin="policy.yaml:7@abc")
        assert rule_name(named) == "permission own [plant policy.yaml:7@abc]"
        assert rule_name(permission("alice", "a/#")) == f"permission {INSTANCE} USER alice a/# ALLOW policy [policy]"
        assert rule_name(Instance(name="mqtt-x")) == "instance mqtt-x [api]"
        assert "right" not in str(rule_name(identity("alice", b"right")))


class TestLevels:
    @pytest.mark.parametrize(
        ("decisions", "logged"),
        [("all", {"allow", "deny", "pass"}), ("deny", {"deny", "pass"}), ("none", set())],
    )
    async def test_which_decisions_are_logged(
        self, serve: Serve, store: Store, decisions: str, logged: set[str]
    ) -> None:
        store.put(instance(no_match=NoMatch.PASS), identity("alice", b"right"), permission("alice", "a/#"))
        store.put(permission("alice", "d/#", effect=Effect.DENY))
        with structlog.testing.capture_logs() as lines:
            async with serve(decisions=decisions) as served:
                assert await served.authorize("c", "alice", "PUBLISH", "a/b")
                assert not await served.authorize("c", "alice", "PUBLISH", "d/b")
                with pytest.raises(AssertionError):  # IGNORE is no verdict
                    await served.authorize("c", "alice", "PUBLISH", "x")
                assert await served.authenticate("c", "alice", b"right")
        assert {line["result"] for line in lines if line["event"] == "decision"} == logged

    async def test_a_reload_changes_what_is_logged(self, serve: Serve, store: Store) -> None:
        store.put(identity("alice", b"right"))
        with structlog.testing.capture_logs() as lines:
            async with serve(decisions="none") as served:
                await served.authenticate("c", "alice", b"right")
                served.worker.reload(served.worker.settings.model_copy(update={"decisions": "all"}))
                await served.authenticate("d", "alice", b"right")
        assert [line["client_id"] for line in lines if line["event"] == "decision"] == ["d"]

    @pytest.mark.parametrize("log_level", ["debug", "info", "warning", "error"])
    @pytest.mark.parametrize("decision_level", ["debug", "info", "warning"])
    def test_the_level_of_decisions_against_the_least_that_is_logged(self, log_level: str, decision_level: str) -> None:
        order = ["debug", "info", "warning", "error"]
        settings = Settings.model_validate(
            {"log_level": log_level, "decision_level": decision_level, "decisions": "all", "log_format": "json"}
        )
        stream = io.StringIO()
        with redirect_stderr(stream):
            configure(settings)
            write(DecisionLog(settings), decision())
            for level in order:
                getattr(logger, level)("line")
        lines = [json.loads(line) for line in stream.getvalue().splitlines()]
        levels = [line["level"] for line in lines if line["event"] == "line"]
        assert levels == order[order.index(log_level) :]
        decided = [line["level"] for line in lines if line["event"] == "decision"]
        assert decided == ([decision_level] if order.index(decision_level) >= order.index(log_level) else [])


class TestForging:
    """A client chooses its client id, user name and topic; it must not choose how a line reads."""

    @pytest.mark.parametrize("nasty", NASTY, ids=ascii)
    def test_a_json_line_is_one_line_and_says_what_was_sent(self, nasty: str) -> None:
        text = printed("json", client_id=nasty, result="deny")
        assert text.endswith("}\n")
        assert text[:-1].isprintable()
        line = json.loads(text)
        assert (line["event"], line["result"]) == ("decision", "deny")
        visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in nasty)
        assert line["client_id"] == visible

    @pytest.mark.parametrize("nasty", NASTY, ids=ascii)
    def test_a_console_line_is_one_line_with_its_own_fields_alone(self, nasty: str) -> None:
        text = printed("console", client_id=nasty, result="deny")
        assert text.count("\n") == 1
        assert text[:-1].isprintable()
        without = re.sub(r"client_id=('(\\.|[^'\\])*'|\"(\\.|[^\"\\])*\")", "", text)
        assert without != text
        assert re.findall(r"(\S+?)=(\S+)", without) == [("result", "'deny'")]

    @given(st.text(), st.text(), st.sampled_from(["json", "console"]))
    def test_no_text_makes_a_second_line(self, client_id: str, topic: str, log_format: str) -> None:
        text = printed(log_format, client_id=client_id, topic=topic)
        assert len(text.splitlines()) == 1
        assert text[:-1].isprintable()

    async def test_neither_through_the_server(
        self, serve: Serve, store: Store, capsys: pytest.CaptureFixture[str]
    ) -> None:
        store.put(identity("alice", b"right"), permission("alice", "x"))
        for log_format in ("json", "console"):
            async with serve(decisions="all") as served:
                configure(Settings(decisions="all", log_format=log_format))
                capsys.readouterr()
                for nasty in ("a\nb", "\x1b[2Jx", "x result=allow", "\u202eabc"):
                    await served.authenticate(nasty, "alice", b"right")
                    await served.authenticate("c", nasty, b"x")
                    await served.authorize("c", "alice", "PUBLISH", nasty)
                    await served.authorize("c", "alice", "SUBSCRIBE", nasty, mountpoint=nasty.encode())
            lines = capsys.readouterr().err.splitlines()
            assert len(lines) == 16
            assert all(line.isprintable() for line in lines)

    async def test_a_broker_does_not_either(self, serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
        request = exhook_v3_pb2.ProviderLoadedRequest(
            broker={"version": "5\n{}", "sysdescr": "EMQX\x1b[2J"}, meta={"node": "n\r\n", "cluster_name": "\u2028"}
        )
        async with serve() as served:
            configure(Settings(log_format="json"))
            capsys.readouterr()
            await served.call("/emqx.exhook.v3.HookProvider/OnProviderLoaded", request.SerializeToString())
            (line,) = capsys.readouterr().err.splitlines()
            assert line.isprintable()
            assert json.loads(line)["broker"] == r"EMQX\x1b[2J 5\n{}"


class TestColours:
    def test_by_the_terminal_unless_no_color_says_no(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NO_COLOR", raising=False)
        assert "\x1b[" in printed("console", to=Terminal())
        assert "\x1b[" not in printed("console")
        monkeypatch.setenv("NO_COLOR", "1")
        assert "\x1b[" not in printed("console", to=Terminal())
        monkeypatch.setenv("NO_COLOR", "")  # as no-color.org has it
        assert "\x1b[" in printed("console", to=Terminal())

    def test_auto_is_console_on_a_terminal_and_json_elsewhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        assert json.loads(printed("auto"))["event"] == "decision"
        assert not printed("auto", to=Terminal()).startswith("{")


class TestSecrets:
    @pytest.mark.parametrize("name", sorted(SECRET_FIELDS))
    @pytest.mark.parametrize("log_format", ["json", "console"])
    def test_fields_named_like_a_secret_are_dropped_should_someone_forget(self, name: str, log_format: str) -> None:
        fields: dict[str, Any] = {name: "canary", "other": "kept"}
        text = printed(log_format, "line", **fields)
        assert "canary" not in text
        assert "(dropped)" in text
        assert "kept" in text

    def test_whatever_they_hold(self) -> None:
        event: dict[str, Any] = {name: {"a": b"canary"} for name in SECRET_FIELDS} | {"event": "x", "keys": 1}
        assert drop_secrets(None, "", event) == dict.fromkeys(SECRET_FIELDS, "(dropped)") | {"event": "x", "keys": 1}

    def test_an_exception_is_named_by_kind_and_place(self) -> None:
        with pytest.raises(ValueError, match="canary") as ours:
            fail("canary")
        assert re.fullmatch(r"ValueError at test_logs:\d+", error_place(ours.value))
        with pytest.raises(ValueError, match="Expecting") as theirs:
            json.loads("canary")
        assert re.fullmatch(r"JSONDecodeError at json\.decoder:\d+", error_place(theirs.value))
        assert error_place(ValueError("canary")) == "ValueError"


def fail(message: str) -> None:
    raise ValueError(message)


class Full(io.StringIO):
    """A stream that takes nothing: the disk is full, or the reader of the pipe is gone."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_a_log_that_cannot_be_written_changes_no_answer(serve: Serve, store: Store, log_format: str) -> None:
    store.put(identity("alice", b"right"), permission("alice", "a/#"))
    for stream in (Full(), io.StringIO()):
        async with serve(decisions="all") as served:
            with redirect_stderr(stream):
                configure(Settings.model_validate({"log_format": log_format}))
            if not isinstance(stream, Full):
                stream.close()
            assert await served.authenticate("c", "alice", b"right")
            assert not await served.authenticate("c", "alice", b"wrong")
            assert not await served.authorize("c", "alice", "PUBLISH", "x")
            served.worker.hooks._decider.reader.view = None  # a bug of ours
            assert not await served.authenticate("c", "alice", b"right")


WRITE_LINES = """
import sys
from exhook.logs import configure, logger
from exhook.settings import Settings
configure(Settings(log_format="json"))
for number in range(2000):
    logger.info("line", number=number)
"""


def test_processes_that_share_standard_error_write_whole_lines(tmp_path: Path) -> None:
    """As workers do: one wrote between another's line and its end."""
    log = tmp_path / "log"
    with log.open("wb") as shared:
        writing = [subprocess.Popen([sys.executable, "-c", WRITE_LINES], stderr=shared) for _ in range(3)]
        assert [one.wait() for one in writing] == [0, 0, 0]
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 6000

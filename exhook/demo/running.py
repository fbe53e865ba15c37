"""The command `demo`: start all of it, let the script's clients try, compare with the policy, tell."""

import json
import queue
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Final

import typer

from exhook.brokers.mosquitto.running import Mosquitto
from exhook.demo.clients import MqttClient, NoAnswer
from exhook.demo.elsewhere import Elsewhere
from exhook.demo.outcome import Outcome
from exhook.demo.script import SCRIPT, WITNESS, Step
from exhook.demo.server import DB, POLICY, DemoServer, Line
from exhook.demo.table import print_table
from exhook.faults import CannotStart
from store.sync.exit_codes import ExitCode
from store.sync.json_schema import FILE_NAME, schema_text

DELIVERY_SECONDS: Final = 5.0
"""How long to wait for a message that is to come."""
SILENCE_SECONDS: Final = 0.5
"""A message that has not come by then was not let through: on one machine it takes milliseconds."""

FIXED: Final = ("127.0.0.1:9000", 1883)
FREE: Final = ("127.0.0.1:0", 0)

Stage = DemoServer | Elsewhere
"""Where the script is played."""


def run_demo(*, as_json: bool, stay: bool, folder: Path | None, mosquitto: bool) -> int:
    """Run the script; 0 only if every line went as the policy says. With `stay`, go on serving until Ctrl-C.

    The clients go through Mosquitto, or through the embedded broker.

    Raises:
        CannotStart, CannotBuild: the server, the plugin or the broker did not come up.
    """
    listen, broker_port = FIXED if stay else FREE
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="exhook-demo-")))
        folder.mkdir(parents=True, exist_ok=True)
        policy = folder / POLICY
        if not policy.exists():
            shutil.copyfile(str(files("exhook.demo") / POLICY), policy)
            # Its first line names it, for whoever edits the policy.
            (folder / FILE_NAME).write_text(schema_text(), encoding="utf-8")
        embedded = None if mosquitto else broker_port
        server = stack.enter_context(DemoServer(folder, listen=listen, embedded=embedded))
        if mosquitto:
            server.broker_port = stack.enter_context(Mosquitto(folder, server.address, broker_port)).port
            server.broker_name = "Mosquitto"
        outcomes = play(server)
        if as_json:
            typer.echo(as_json_text(outcomes))
        else:
            print_table(outcomes, heading(server))
        if stay:
            _stay(server, folder)
    return verdict(outcomes)


def verdict(outcomes: Sequence[Outcome]) -> int:
    """The exit code."""
    return ExitCode.DONE if all(outcome.as_the_policy_says for outcome in outcomes) else 1


def as_json_text(outcomes: Sequence[Outcome]) -> str:
    return json.dumps([asdict(outcome) for outcome in outcomes], ensure_ascii=False, indent=2)


def heading(stage: Stage) -> str:
    return f"MQTT clients on {place(stage)} ({stage.broker_name}), decided by {stage.decider}"


def place(stage: Stage) -> str:
    return f"{stage.host}:{stage.broker_port}"


def play(server: Stage) -> list[Outcome]:
    """Let the clients of the script try their steps, one after the other."""
    with ExitStack() as stack:
        connected: dict[str, MqttClient] = {}
        return [replace(_try(step, server, connected, stack), broker=place(server)) for step in SCRIPT]


def _try(step: Step, server: Stage, connected: dict[str, MqttClient], stack: ExitStack) -> Outcome:
    since = server.lines
    try:
        if step.hook == "authenticate":
            client = stack.enter_context(MqttClient(step.login, server.broker_port, host=server.host))
            went = client.connect()
            if went:
                connected[step.login.client_id] = client
        elif step.hook == "subscribe":
            went = connected[step.login.client_id].subscribe(step.topic)
        else:
            went = _published(step, server, connected, since)
    except KeyError:
        return _outcome(step, "not connected", None, went=None, tells=server.tells)
    except (NoAnswer, OSError):
        return _outcome(step, "no answer", None, went=None, tells=server.tells)
    said = server.decision(hook=step.hook, client_id=step.login.client_id, topic=step.topic or None, since=since)
    return _outcome(step, _WORDS[step.hook][went], said, went=went, tells=server.tells)


_WORDS: Final = {
    "authenticate": {True: "let in", False: "refused"},
    "subscribe": {True: "subscribed", False: "refused"},
    "publish": {True: "delivered", False: "not delivered"},
}


def _published(step: Step, server: Stage, connected: dict[str, MqttClient], since: int) -> bool:
    """Whether the message reached the witness."""
    witness = connected[WITNESS.client_id]
    connected[step.login.client_id].publish(step.topic)
    server.decision(hook="publish", client_id=step.login.client_id, topic=step.topic, since=since)
    deadline = time.monotonic() + (DELIVERY_SECONDS if step.allowed else SILENCE_SECONDS)
    while (left := deadline - time.monotonic()) > 0:
        try:
            if witness.messages.get(timeout=left) == step.topic:
                return True
        except queue.Empty:
            break
    return False


def _outcome(step: Step, happened: str, said: Line | None, *, went: bool | None, tells: bool) -> Outcome:
    reason = said["reason"] if said else "not logged" if tells else ""
    rule = (said.get("rule") or "") if said else ""
    explained = reason == step.reason and (not step.rule or f" {step.rule} " in rule)
    right = went is step.allowed and (explained or not tells)
    tried = {"authenticate": f"connect as {step.login.username or 'nobody'}"}.get(
        step.hook, f"{step.hook} {step.topic}"
    )
    return Outcome(step.title, step.login.client_id, tried, happened, reason, rule, right)


def _stay(server: DemoServer, folder: Path) -> None:
    """Serve on, and say what to try.

    Raises:
        CannotStart: the server ended by itself.
    """
    # As it was called: in a clone it is .venv/bin/exhook, which is on nobody's PATH.
    program = "exhook" if shutil.which("exhook") else sys.argv[0]
    policy, db = folder / POLICY, folder / DB
    typer.echo(
        f"""
The server goes on, with {server.broker_name} on 127.0.0.1:{server.broker_port}.
  change the policy   edit {policy} and save; it is in force at once
  ask why             {program} explain --db {db} --username sensors --client-id GID_Sensors@@@0001 subscribe '#'
  a device's password {program} sign --db {db} --username sensors --client-id GID_Sensors@@@0002
  connect yourself    any MQTT client: user operator, password demo-operator
  stop                Ctrl-C"""
    )
    try:
        code = server.process.wait()
    except KeyboardInterrupt:
        typer.echo("stopping")
        return
    if code:
        raise CannotStart(f"the server ended by itself (exit code {code}), and the demo with it; start it again")

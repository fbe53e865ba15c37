"""No secret that a client or an operator hands over is ever found where it does not belong (pitfall 12)."""

import base64
import hashlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGTERM
from typing import Any

import prometheus_client
import pytest
import structlog
from canaries_under_test import Canaries
from commands_under_test import Exhook
from server_under_test import Asker, Server
from worker_under_test import INSTANCE, MESSAGES, Serve, Served, Store

from exhook import decider, hashing
from exhook.brokers.connect import Connect
from exhook.demo.script import Login
from exhook.explaining import Question
from exhook.hooks import DENY
from exhook.logs import configure
from exhook.settings import Settings
from exhook.transport.call import Call
from store.credentials import hash_password, sign
from store.database import Database
from store.decision import conclude, select
from store.records import SignMode
from store.seal import SealKeys, new_key
from store.sync.apply import Applied, apply_policy
from store.sync.document import load_policy
from store.sync.references import SecretSources
from store.tables import IDENTITIES
from store.view import Client, Listener

ORIGIN = "canary-origin-4f1c"
OLD = "canary-origin-old-88d0"
SIGNING = "canary-signing-a07e"
SIGNING_256 = "canary-signing-256-b3b3"
HASHED = "canary-hashed-c55a"
FROM_FILE = "canary-from-file-d9d1"
FROM_ENV = "canary-from-env-e2e4"
WRONG = "canary-wrong-f00d"
MESSAGE = "canary-message-0bad"

SECRETS = (ORIGIN, OLD, SIGNING, SIGNING_256, FROM_FILE, FROM_ENV)
"""What a store keeps, since it must be had again."""
CANARIES = (*SECRETS, HASHED, WRONG, MESSAGE)

POLICY = f"""\
format: exhook/v1
source: plant
defaults: {{instance: {INSTANCE}}}
groups: [GID_Sensors]
identities:
  - username: origin
    sign_mode: origin
    secrets: [{{id: new, literal: {ORIGIN}}}, {{id: old, literal: {OLD}}}]
  - {{username: sensors, sign_mode: signed, client_ids: {{group: GID_Sensors}}, secret: {{literal: {SIGNING}}}}}
  - {{username: sha256, sign_mode: signed-sha256, secret: {{literal: {SIGNING_256}}}}}
  - {{username: hashed, sign_mode: hashed, secret: {{literal: {HASHED}}}}}
  - {{username: from-file, sign_mode: origin, secret: {{file: from-file}}}}
  - {{username: from-env, sign_mode: origin, secret: {{env: EXHOOK_SECRET_CANARY}}}}
  - {{username: owner, client_id: dash-01, sign_mode: external}}
permissions:
  - {{username: origin, publish: [a/b]}}
blacklist:
  - {{client_id: stolen}}
"""

AUTHENTICATE = "/emqx.exhook.v3.HookProvider/OnClientAuthenticate"
AUTHORIZE = "/emqx.exhook.v3.HookProvider/OnClientAuthorize"

LOGINS: tuple[tuple[str, str, bytes, bool], ...] = (
    ("c", "origin", ORIGIN.encode(), True),
    ("c", "origin", OLD.encode(), True),
    ("c", "from-file", FROM_FILE.encode(), True),
    ("c", "from-env", FROM_ENV.encode(), True),
    ("GID_Sensors@@@1", "sensors", sign(SIGNING.encode(), "GID_Sensors@@@1"), True),
    ("c", "sha256", sign(SIGNING_256.encode(), "c", SignMode.SIGNED_SHA256), True),
    ("c", "hashed", HASHED.encode(), True),
    *((client_id, username, password.encode(), False)
      for password in (WRONG, SIGNING, f"{WRONG}\0\x1b[2J")
      for client_id, username in (
          ("c", "origin"), ("GID_Sensors@@@1", "sensors"), ("c", "sha256"), ("c", "hashed"), ("c", "nobody"),
          ("c", ""), ("c", "sensors"), ("stolen", "origin"), ("dash-01", "origin"), ("dash-01", "owner"),
          ("c", "Token|id|other"), ("c", f"Signature|id|{INSTANCE}"),
      )),
)  # fmt: skip
"""Client id, user name, password, and whether that is let in: every sign mode and every way to be refused."""


found = Canaries((canary, canary) for canary in CANARIES).found
"""Which canaries are there, and in which form."""


def files(folder: Path, *, but: tuple[str, ...]) -> dict[str, bytes]:
    """Every file below a folder, but those in which an operator put secrets."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name not in but
    }


def fill(store: Store, folder: Path) -> Applied:
    (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")
    secrets = folder / "secrets"
    secrets.mkdir(exist_ok=True)
    (secrets / "from-file").write_text(f"{FROM_FILE}\n")
    sources = SecretSources({"EXHOOK_SECRET_CANARY": FROM_ENV}, secrets)
    return apply_policy(store.path, store.keys, [folder / "policy.yaml"], sources, actor="test")


@pytest.fixture
def exhook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exhook:
    return Exhook(capsys, monkeypatch, tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A sealed store that the policy was applied to."""
    made = Store(tmp_path / "exhook.db", SealKeys.from_text(new_key(), "test"))
    fill(made, tmp_path)
    return made


@pytest.fixture
def served(serve: Serve) -> Callable[..., Any]:
    """The store, served with everything logged that can be."""
    return lambda: serve(decisions="all", log_level="debug")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_the_search_finds_what_it_looks_for() -> None:
    """Else nothing below could fail."""
    for canary in CANARIES:
        for hidden in (
            canary, canary.encode().hex(), f"x{canary}y", base64.b64encode(f"user:{canary}".encode()),
            base64.b64encode(f"us:{canary}!".encode()), base64.b64encode(f"u:{canary}".encode()),
            hashlib.sha256(canary.encode()).hexdigest(), repr(canary.encode()),
        ):  # fmt: skip
            assert {name for name, _ in found("before", hidden)} == {canary}, hidden


async def talk(served: Served) -> None:
    """Right and wrong CONNECTs in each sign mode, and operations that carry a password they need not."""
    for client_id, username, password, allowed in LOGINS:
        for _ in range(2):
            assert await served.authenticate(client_id, username, password) is allowed, (client_id, username)
        await served.authorize(client_id, username, "PUBLISH", "a/b", password=password)
        await served.authorize(client_id, username, "SUBSCRIBE", "#", password=password)
    info = {"clientid": b"c", "username": b"\xff\xfe", "password": WRONG.encode()}
    whole = MESSAGES["v3"].ClientAuthenticateRequest(clientinfo=info).SerializeToString()
    for body in (whole, whole[:-1], whole[:-5], b"\x0a\x7f" + whole, WRONG.encode(), b"\x12" + whole):
        for path in (AUTHENTICATE, AUTHORIZE, "/emqx.exhook.v1.HookProvider/OnClientAuthenticate"):
            assert await served.call(path, body) == DENY
    assert not await served.authenticate("c" * 65_536, "origin", ORIGIN.encode())
    assert not await served.authenticate("c", "origin", ORIGIN.encode() + b"x" * 65_536)


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_nothing_of_it_in_logs_and_metrics(
    served: Callable[..., Any], log_format: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with served() as running:
        configure(
            Settings.model_validate({"log_format": log_format, "decisions": "all", "log_level": "debug"}), worker="0"
        )
        await talk(running)
    said = capsys.readouterr()
    assert said.err.count("wrong_password") >= 20
    assert said.err.count("allowed") >= len(SECRETS)
    assert found(said.out, said.err, caplog.text, prometheus_client.generate_latest()) == set()


def failing(*_: object, **__: object) -> Any:
    raise RuntimeError(f"it broke over {MESSAGE} and {ORIGIN}")


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_nothing_of_it_where_something_of_ours_breaks(
    served: Callable[..., Any],
    log_format: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served() as running:
        configure(Settings.model_validate({"log_format": log_format, "decisions": "all"}))
        for place, name in (
            (decider, "verify"), (hashing, "verify"), (decider, "select"), (decider, "conclude"),
            (decider, "authorize"), (running.worker.reader, "view"), (running.worker.decider.listeners, "find"),
            (running.worker.hashing, "remembered"), (running.worker.hashing, "_memory_key"),
        ):  # fmt: skip
            with monkeypatch.context() as patch:
                patch.setattr(place, name, failing)
                for client_id, username, password, _ in LOGINS[:12]:
                    await running.authenticate(client_id, username, password)
                    await running.authorize(client_id, username, "PUBLISH", "a/b", password=password)
        assert await running.authenticate(*LOGINS[0][:3])
    said = capsys.readouterr()
    assert said.err.count("internal_error") > 50
    assert "RuntimeError at test_canary:" in said.err
    assert found(said.out, said.err, caplog.text, prometheus_client.generate_latest()) == set()


async def test_nothing_of_it_in_any_repr(served: Callable[..., Any], store: Store, tmp_path: Path) -> None:
    policy = load_policy([tmp_path / "policy.yaml"])
    fresh = Store(tmp_path / "fresh.db", store.keys)
    shown: list[object] = [
        policy, policy.identities, store, fill(fresh, tmp_path), SecretSources({"X": ORIGIN}, None),
        Login("u", "c", ORIGIN.encode()), Connect("c", "u", ORIGIN.encode(), 60, None),
        Call(AUTHENTICATE, ORIGIN.encode(), None, "peer"),
        Question(client_id="c", username="u", action=None, password=ORIGIN.encode(), listener="default", at_ms=0),
    ]  # fmt: skip
    with Database.open(store.path, store.keys) as database:
        identities = list(database.records(IDENTITIES))
        shown += [database, identities, [vars(database)]]
    assert {secret.value.decode() for one in identities for secret in one.secrets} >= set(SECRETS)
    async with served() as running:
        await talk(running)
        for client_id, username, password, _ in LOGINS:
            client = Client(username, client_id, Listener("default", INSTANCE))
            view = running.worker.reader.view(INSTANCE, client)
            challenge = select(view, client, password, 0)
            shown += [client, view, challenge]
            if not hasattr(challenge, "allow"):
                shown.append(conclude(challenge, "default"))
        worker = running.worker
        for part in (worker, worker.reader, worker.decider, worker.hooks, worker.carrier, worker.hashing):
            shown += [part, vars(part)]
    for one in shown:
        assert found(repr(one), str(one)) == set(), type(one)


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "in the clear"])
def test_nothing_of_it_on_the_disk_while_a_server_runs_and_afterwards(
    exhook: Exhook, tmp_path: Path, sealed: bool
) -> None:
    """The real server, its store and runtime file, its log and its metrics; and each command beside it."""
    folder = tmp_path / "served"
    (folder / "secrets").mkdir(parents=True)
    (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")
    (folder / "secrets" / "from-file").write_text(f"{FROM_FILE}\n")
    inputs = ("policy.yaml", "from-file", "exhook.key")
    arguments = ["--policy", str(folder / "policy.yaml"), "--secrets-dir", str(folder / "secrets")]
    said: list[str] = []
    if sealed:
        made = exhook("seal-key", "new", str(folder / "exhook.key"))
        said += [made.out, made.err]
        arguments += ["--seal-key-file", str(folder / "exhook.key")]
    with Server(
        folder, *arguments, "--metrics", "127.0.0.1:0", "--decisions", "all", "--log-level", "debug",
        EXHOOK_SECRET_CANARY=FROM_ENV,
    ) as server:  # fmt: skip
        with Asker(server.port) as broker:
            for client_id, username, password, allowed in LOGINS:
                assert broker.connects(client_id, username, password) is allowed, (client_id, username)
                broker.publishes(client_id, username, "a/b", password=password)
        said += commands(exhook, folder, sealed=sealed)
        said += [server.metrics_text(), server.said]
        warned = [line for line in server.lines if "secrets stand in the clear" in str(line.get("event"))]
        running = files(folder, but=inputs)
        server.tell(SIGTERM)
        assert server.ended() == 0
        said.append(server.said)
    stopped = files(folder, but=inputs)
    assert {"exhook.db", "exhook.runtime.db"} <= running.keys() & stopped.keys()
    assert "exhook.db-wal" in running
    assert bool(warned) is not sealed
    assert found(*said) == set()
    in_the_clear = set() if sealed else {(secret, "itself") for secret in SECRETS}
    for snapshot in (running, stopped):
        store = [data for name, data in snapshot.items() if name.startswith("exhook.db")]
        others = [data for name, data in snapshot.items() if not name.startswith("exhook.db")]
        assert found(*store) == in_the_clear
        assert found(*others) == set(), snapshot.keys()
    assert (folder / "exhook.db").stat().st_mode & 0o777 == 0o600


def commands(exhook: Exhook, folder: Path, *, sealed: bool) -> list[str]:
    """What each command says that has to do with secrets."""
    own = ["--db", str(folder / "exhook.db")]
    if sealed:
        own += ["--seal-key-file", str(folder / "exhook.key")]
    said = []
    for number, (client_id, username, password, allowed) in enumerate(LOGINS[:20]):
        who = [
            "--username",
            username,
            "--client-id",
            client_id,
            "--password-stdin",
            *(["--json"] if number % 2 else []),
        ]
        one = exhook("explain", *own, *who, "connect", stdin=password)
        assert one.code == (0 if allowed else 1), (one, username)
        said += [one.out, one.err]
        if number < 12:  # each makes a store of its own
            two = exhook("explain", "--policy", str(folder / "policy.yaml"), *who, "connect", stdin=password)
            # Without the folder and the variable, some secrets cannot be had.
            assert two.code == (one.code if username not in {"from-file", "from-env"} else 2)
            said += [two.out, two.err]
    device = ["--username", "sensors", "--client-id", "GID_Sensors@@@1"]
    signed = exhook("sign", *own, *device)
    assert signed.out.strip().encode() == sign(SIGNING.encode(), "GID_Sensors@@@1")
    failed = exhook("sign", *own, "--username", "origin", "--client-id", "c")
    assert failed.code == 2
    said += [signed.out, signed.err, failed.err]
    if sealed:
        rotated = exhook("seal-key", "rotate", *own)
        assert rotated.code == 0
        said += [rotated.out, rotated.err]
    shown = exhook("settings", EXHOOK_SECRET_CANARY=FROM_ENV)
    return [*said, shown.out]


BROKEN = (
    f"secret: {ORIGIN}",
    f"secret: [{ORIGIN}]",
    f"secret: {{hash: {ORIGIN}}}",
    f"secret: {{hash: $argon2id$v=19$m=1,t=1,p=1${ORIGIN}}}",
    f"secret: {{literal: {ORIGIN}, env: {ORIGIN}}}",
    f"secret: {{literal: [{ORIGIN}]}}",
    f"secret: {{litteral: {ORIGIN}}}",
    f"secrets: [{{id: a, literal: {ORIGIN}}}, {{id: a, literal: {OLD}}}]",
    f"secrets: [{{literal: {ORIGIN}}}, {{id: b, literal: {OLD}}}, {{id: c, literal: {SIGNING}}}]",
    f"secrets: {ORIGIN}",
    f"password: {ORIGIN}",
    f"secret: {{env: EXHOOK_SECRET_ABSENT, literal: {ORIGIN}}}",
)
SYNTAX = (
    f"secret: {{literal: '{ORIGIN}",
    f'secret: {{literal: "{ORIGIN}\\q"}}',
    f"secret: {{literal: {ORIGIN} }} }}",
    f"secret: {{literal: {ORIGIN}, literal: {OLD}}}",
    f"secret: !!python/object {ORIGIN}",
    f"secret: *{ORIGIN}",
    f"secret: {{literal: \t- {ORIGIN}\n{OLD}",
)


def broken(*entries: str) -> str:
    identities = "".join(f"  - username: u{n}\n    sign_mode: origin\n    {one}\n" for n, one in enumerate(entries))
    return f"format: exhook/v1\ndefaults: {{instance: i}}\nidentities:\n{identities}"


@pytest.mark.parametrize("entry", [*BROKEN, *SYNTAX])
def test_a_broken_policy_is_told_without_its_secrets(exhook: Exhook, tmp_path: Path, entry: str) -> None:
    (tmp_path / "policy.yaml").write_text(broken(entry))
    said = exhook("explain", "--policy", "policy.yaml", "--client-id", "c", "connect")
    assert said.code == 3, said
    assert said.err.startswith("policy.yaml:")
    assert found(said.out, said.err) == set()


def test_a_server_is_as_silent_about_it(tmp_path: Path) -> None:
    """At the start, and when a good policy is replaced by a broken one."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(broken(*BROKEN))
    command = [sys.executable, "-m", "exhook", "serve", "--policy", str(policy), "--listen", "127.0.0.1:0"]
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=60, env=_environment())
    assert refused.returncode == 3
    assert refused.stderr.count(b"policy.yaml:") >= len(BROKEN)
    assert found(refused.stdout, refused.stderr) == set()
    policy.write_text(broken(f"secret: {{literal: {ORIGIN}}}"))
    with Server(tmp_path, "--policy", str(policy)) as server:
        for entries in (BROKEN, SYNTAX[:1]):
            since = len(server.lines)
            policy.write_text(broken(*entries))
            server.line("policy not applied; the last good state stays in force", since)
        with Asker(server.port) as broker:
            assert broker.connects("c", "u0", ORIGIN.encode())
        assert found(server.said) == set()


def test_a_store_that_breaks_says_nothing_either(exhook: Exhook, store: Store, tmp_path: Path) -> None:
    """A sealed secret that was altered, or moved to another record."""
    connection = sqlite3.connect(store.path)
    sealed = [row[0] for row in connection.execute("SELECT sealed FROM identity_secrets ORDER BY identity, id")]
    rows = connection.execute("SELECT identity, id FROM identity_secrets ORDER BY identity, id").fetchall()
    for other, row in zip([*sealed[1:], sealed[0]], rows, strict=True):
        connection.execute("UPDATE identity_secrets SET sealed = ? WHERE identity = ? AND id = ?", (other, *row))
    connection.commit()
    connection.close()
    (tmp_path / "key").write_text(_key_of(store))
    said = exhook("explain", "--client-id", "c", "--username", "origin", "publish", "a/b", EXHOOK_SEAL_KEY_FILE="key")
    assert said.code == 2
    assert "was altered, or moved from another record" in said.err
    assert found(said.out, said.err) == set()
    said = exhook("sign", "--client-id", "GID_Sensors@@@1", "--username", "sensors", EXHOOK_SEAL_KEY_FILE="key")
    assert said.code == 8
    assert _key_of(store) not in said.err + said.out


def test_a_password_hash_is_no_plain_digest() -> None:
    assert found(hash_password(HASHED.encode())) == set()


def _key_of(store: Store) -> str:
    (key,) = store.keys._keys.values()
    return base64.b64encode(key).decode()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("EXHOOK_")}

"""Every command beside a running server, its API and what brokers say: none of them shows a secret (pitfall 12)."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from api_under_test import INSTANCE, Sdk, Signed, api_port, send
from canaries_under_test import Canaries
from commands_under_test import Exhook
from emqx_api_under_test import EmqxApiUnderTest, Session
from server_under_test import Asker, Server, until

from store.api_calls import CALLS
from store.clock import now_ms
from store.credentials import hash_password, sign
from store.database import Database
from store.seal import SealKeys, new_key
from store.tables import IDENTITIES

PASSWORD: Final = "canary-password-7d1f"
WRONG: Final = "canary-wrong-password-09aa"
LITERAL: Final = "canary-literal-secret-5b52"
UPLOADED: Final = "canary-uploaded-secret-c0c0"
ACCESS_KEY: Final = "canary-access-key-secret-d4d4"
EMQX: Final = "canary-emqx-api-secret-8e8e"
PROBE: Final = "canary-probe-password-3a3a"
HOUR_MS: Final = 3_600_000

POLICY: Final = f"""\
format: exhook/v1
source: plant
defaults: {{instance: {INSTANCE}}}
instances: {{{INSTANCE}: {{}}}}
identities:
  - {{id: literal, username: literal, sign_mode: origin, secret: {{literal: {LITERAL}}}}}
  - {{id: hashed, username: hashed, secret: {{hash: "%s"}}}}
access_keys:
  - id: AKapp
    secret: {{env: EXHOOK_SECRET_APP}}
    instances: [{INSTANCE}]
    calls: [{", ".join(CALLS)}]
    connect: true
    all_topics: true
permissions:
  - {{id: own, username: literal, publish: ["a/b"]}}
"""


class Known:
    """A server with everything that it can be given, and the secrets of it all."""

    def __init__(self, folder: Path, exhook: Exhook, broker: EmqxApiUnderTest) -> None:
        self.folder = folder
        self.exhook = exhook
        self.said: list[str] = []
        self.hash = hash_password(PASSWORD.encode())
        self.seal_key = new_key()
        (folder / "seal.key").write_text(f"{self.seal_key}\n")
        broker.key = f"KEY:{EMQX}"
        (folder / "emqx.key").write_text(f"{broker.key}\n")
        (folder / "policy.yaml").write_text(POLICY % self.hash)
        self.config = folder / "exhook.toml"
        self.config.write_text(
            f'seal_key_file = "{folder / "seal.key"}"\ninstance = "{INSTANCE}"\n'
            f'[[emqx]]\nname = "plant"\nurl = "{broker.url}"\napi_key_file = "{folder / "emqx.key"}"\n'
        )
        self.secrets: dict[str, str] = {
            "password": PASSWORD,
            "wrong password": WRONG,
            "literal": LITERAL,
            "uploaded": UPLOADED,
            "access key": ACCESS_KEY,
            "EMQX API key": EMQX,
            "probe": PROBE,
            "seal key": self.seal_key,
            "hash": self.hash.rpartition("$")[2],
        }

    def run(self, *arguments: str, code: int | None = None, stdin: bytes = b"", **environment: str) -> str:
        """What a command says, which is searched at the end."""
        done = self.exhook(*arguments, "--config", str(self.config), *self.db, stdin=stdin, **environment)
        assert code is None or done.code == code, done
        self.said += [done.out, done.err]
        return done.out

    @property
    def db(self) -> tuple[str, str]:
        return ("--db", str(self.folder / "exhook.db"))

    def found(self, *places: str | bytes) -> set[tuple[str, str]]:
        return Canaries(self.secrets.items()).found(*places)


@pytest.fixture
def exhook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exhook:
    return Exhook(capsys, monkeypatch, tmp_path)


@pytest.fixture
def broker() -> Iterator[EmqxApiUnderTest]:
    with EmqxApiUnderTest() as made:
        yield made


@pytest.fixture
def known(tmp_path: Path, exhook: Exhook, broker: EmqxApiUnderTest) -> Known:
    return Known(tmp_path, exhook, broker)


def test_whatever_is_asked_beside_a_running_server(known: Known, broker: EmqxApiUnderTest) -> None:
    folder = known.folder
    broker.join(Session("c", "literal"), Session("d", "hashed"))
    arguments = ("--policy", str(folder / "policy.yaml"), "--config", str(known.config), "--api", "127.0.0.1:0")
    more = ("--metrics", "127.0.0.1:0", "--decisions", "all", "--log-level", "debug")
    with Server(folder, *arguments, *more, EXHOOK_SECRET_APP=ACCESS_KEY) as server:
        port = api_port(server)
        tails = [_tail(known, *form) for form in ((), ("--json",))]
        sdk = Sdk(port, key="AKapp", secret=ACCESS_KEY)
        _upload(sdk, known)
        _issue(known)
        with Asker(server.port) as asker:
            until(lambda: len(list(folder.glob("exhook.tail/*.sock"))) == len(tails))
            for _ in range(8):
                _ask(asker, known)
        known.said += [tail.communicate(timeout=60)[0].decode() for tail in tails]
        known.said += _calls(port)
        _look(known)
        broker.key = "another"
        known.run("doctor", code=1)
        known.said += [server.metrics_text(), server.said]
        running = _files(folder)
    known.said.append(server.said)
    assert len(known.said) > 60
    assert "wrong_password" in server.said
    assert known.found(*known.said) == set()
    assert known.found(*running.values(), *_files(folder).values()) == set()
    # It would be found: all of them are in what the operator, the store and the API's callers hold.
    with Database.open(folder / "exhook.db", SealKeys.from_text(known.seal_key, "test")) as database:
        held = [secret.value.decode() for one in database.records(IDENTITIES) for secret in one.secrets]
    assert {"literal", "uploaded", "hash"} <= {name for name, _ in known.found(*held)}


def _upload(sdk: Sdk, known: Known) -> None:
    sdk("AddCustomAuthIdentity", Username="up", IdentityType="USER", Secret=UPLOADED, SignMode="ORIGIN")
    known.said.append(json.dumps(sdk("QueryCustomAuthIdentity", Size=10)))
    token = sdk("ApplyToken", Resources="t/+", Actions="R", ExpireTime=now_ms() + HOUR_MS)["Token"]
    made = sdk("RegisterDeviceCredential", ClientId="GID_Dev@@@1")["DeviceCredential"]
    known.secrets |= {
        "token": token, "signature of the token": token.rpartition(".")[2],
        "device credential": made["DeviceAccessKeySecret"],
    }  # fmt: skip
    known.said.append(str(sdk("QueryToken", Token=token[:-1] + "x")))


def _issue(known: Known) -> None:
    """Commands that show a secret once, by design: it must show nowhere else."""
    said = known.exhook(
        "token", "issue", "--access-key", "AKapp", "--resource", "x/#", "--for", "1h", "--json",
        "--config", str(known.config), *known.db,
    )  # fmt: skip
    assert said.code == 0, said
    issued = json.loads(said.out)
    known.secrets["issued token"] = issued["token"]
    made = known.exhook("access-key", "create", "--json", "--config", str(known.config), *known.db)
    assert made.code == 0, made
    known.secrets["made access key"] = json.loads(made.out)["secret"]
    for form in ((), ("--json",)):
        known.run("token", "list", *form)
        known.run("token-key", "list", *form)
        known.run("access-key", "list", *form)
        known.run("token", "show", "-", *form, stdin=issued["token"].encode())
        known.run("token", "show", issued["token"], *form)
        known.run("token", "show", "-", *form, stdin=issued["token"][:-2].encode())


def _ask(asker: Asker, known: Known) -> None:
    for client_id, username, password, allowed in (
        ("c", "literal", LITERAL.encode(), True),
        ("d", "hashed", PASSWORD.encode(), True),
        ("e", "up", UPLOADED.encode(), True),
        ("c", "literal", WRONG.encode(), False),
        ("d", "hashed", WRONG.encode(), False),
        ("s", f"Signature|AKapp|{INSTANCE}", sign(ACCESS_KEY.encode(), "s"), True),
        ("s", f"Signature|AKapp|{INSTANCE}", ACCESS_KEY.encode(), False),
        ("t", f"Token|AKapp|{INSTANCE}", f"R|{known.secrets['token']}".encode(), True),
        ("t", f"Token|AKapp|{INSTANCE}", f"W|{known.secrets['token']}".encode(), False),
        ("t", f"Token|AKapp|{INSTANCE}", f"R|{known.secrets['token'][:-2]}".encode(), False),
    ):
        assert asker.connects(client_id, username, password) is allowed, (client_id, username)
        asker.publishes(client_id, username, "a/c", password=password)


def _calls(port: int) -> list[str]:
    """What the API answers to calls that are wrong in some way, and hold secrets."""
    said = []
    form = {"InstanceId": INSTANCE, "Username": "up", "IdentityType": "USER", "SignMode": "ORIGIN", "Secret": UPLOADED}
    for action in ("AddCustomAuthIdentity", "UpdateCustomAuthIdentity", "MakeCoffee"):
        for change in ({}, {"SignMode": "none"}, {"InstanceId": "other"}, {"Username": "Token|x|y"}):
            asked = form | change
            for key, secret in (("AKapp", ACCESS_KEY), ("AKapp", WRONG), ("AKnone", ACCESS_KEY)):
                good = not change and secret == ACCESS_KEY and key == "AKapp"
                for query, body in (({}, asked), (asked, {})):
                    if good and action != "MakeCoffee" and body:
                        continue
                    answer = send(port, Signed(action, "POST", query, body, key=key, secret=secret).v3())
                    said += [json.dumps(answer.body), json.dumps(answer.headers)]
    return said


def _look(known: Known) -> None:
    """Commands that look at a server, in every form."""
    for form in ((), ("--json",)):
        known.run("status", *form)
        known.run("why", "c", *form)
        known.run("why", "t", *form)
        known.run("revocations", *form)
        known.run("doctor", "--mqtt", "127.0.0.1:9", "--probe-username", "literal", *form, EXHOOK_PROBE_PASSWORD=PROBE)
    shown = known.exhook("settings", "--config", str(known.config), EXHOOK_SEAL_KEY=known.seal_key)
    known.said += [shown.out, shown.err]


def _tail(known: Known, *form: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "exhook", "tail", "--count", "40", *form, *known.db],
        cwd=known.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={name: value for name, value in os.environ.items() if not name.startswith("EXHOOK_")},
    )  # fmt: skip


def _files(folder: Path) -> dict[str, bytes]:
    """What the system wrote: all but what the operator put there."""
    given = {"policy.yaml", "seal.key", "emqx.key"}
    return {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.name not in given}


@pytest.mark.parametrize(
    "text",
    [
        '[[emqx]]\nname = "a"\nurl = "https://key:{emqx}@emqx.example:18084"\n',
        '[[emqx]]\nname = "a"\nurl = "emqx.example/{emqx}"\n',
        '[[emqx]]\nname = "a"\nurl = "http://emqx.example"\napi_key_file = "KEY:{emqx}"\n',
        '[[emqx]]\nname = "a"\nurl = "http://127.0.0.1"\napi_key_file = ["KEY:{emqx}"]\n',
        '[[emqx]]\nname = "a"\nurl = "http://127.0.0.1"\napi_key_env = "KEY:{emqx}"\n',
        '[[emqx]]\nname = "a"\nurl = "http://127.0.0.1"\napi_key = "KEY:{emqx}"\n',
        '[[emqx]]\nname = "a"\nurl = "http://127.0.0.1"\napi_key_file = "KEY:{emqx}\n',
        'seal_key_file = "{seal}"\n',
        'seal_key_file = ["{seal}"]\n',
        'seal_key = "{seal}"\n',
        "seal_key_file = {seal}\n",
        'tls_cert = "c"\ntls_key = """-----BEGIN PRIVATE KEY-----\n{emqx}\n"""\n',
        'emqx = "KEY:{emqx}"\nseal_key_file = {{key = "{seal}"}}\n',
    ],
)
def test_settings_that_hold_a_key_by_mistake_do_not_show_it(known: Known, text: str) -> None:
    known.config.write_text(text.format(emqx=EMQX, seal=known.seal_key))
    for command in (("settings",), ("doctor",), ("status",), ("serve",), ("api", "--api", "127.0.0.1:0")):
        said = known.exhook(*command, "--config", str(known.config))
        assert said.code == 64, said
        assert len(said.err) < 600
        assert known.found(said.out, said.err) == set(), said


def test_a_key_in_the_place_of_its_file_s_name_is_not_shown(
    known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, key in (("EXHOOK_SEAL_KEY_FILE", known.seal_key), ("EXHOOK_TLS_KEY", f"-----BEGIN\n{EMQX}")):
        for command in (("status",), ("settings",), ("sign", "--username", "u", "--client-id", "c")):
            with monkeypatch.context() as patch:
                patch.setenv(name, key)
                said = known.exhook(*command, *(known.db if command != ("settings",) else ()))
            assert known.found(said.out, said.err) == set(), said
            assert said.code == 64
    said = known.exhook("status", "--seal-key-file", known.seal_key)
    assert "--seal-key-file: it looks like the key itself" in said.err
    assert known.found(said.err) == set()
    done = subprocess.run(
        [Path(sys.executable).with_name("exhook-sync"), "plan", "policy.yaml"],
        cwd=tmp_path, env={"EXHOOK_SEAL_KEY_FILE": known.seal_key}, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 8
    assert b"is a key itself" in done.stderr
    assert known.found(done.stdout, done.stderr) == set()

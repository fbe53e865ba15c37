"""`exhook-sync import` as it is run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from store.sync.cli import app
from store.sync.document import load_policy

COMMAND = Path(sys.executable).with_name("exhook-sync")
DATA = Path(__file__).parent / "data"
ACL = "user anna\ntopic read a/#\n"
LOSSY = "topic read x\nuser anna\ntopic read a/#\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "acl").write_text(ACL, encoding="utf-8")
    (tmp_path / "lossy").write_text(LOSSY, encoding="utf-8")
    return tmp_path


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(app, ["import", *arguments], input=given, prog_name="exhook-sync")


def test_all_of_it(folder: Path) -> None:
    done = run("mosquitto-acl", "acl", "-o", "policy.yaml", "--source", "plant", "--instance", "mqtt-prod")
    assert done.exit_code == 0
    line = "policy.yaml: 0 identities, 1 permission, 0 blacklist entries; all of it was carried over\n"
    assert done.stdout == line
    assert all(told.startswith("note: Mosquitto") for told in done.stderr.splitlines())
    policy = load_policy([folder / "policy.yaml"])
    assert (policy.source, policy.default_instance, len(policy.permissions)) == ("plant", "mqtt-prod", 1)
    assert (folder / "policy.yaml").stat().st_mode & 0o077 == 0


def test_not_all_of_it(folder: Path) -> None:
    done = run("mosquitto-acl", "lossy", "-o", "policy.yaml", "--report", "report.txt")
    assert done.exit_code == 10
    assert done.stdout.endswith("; not all of it could be carried over: 1 line left out\n")
    assert done.stderr.startswith("lossy:1: left out: topic read x: ")
    assert (folder / "report.txt").read_text() == done.stderr
    assert "# - lossy:1: topic read x: " in (folder / "policy.yaml").read_text()


def test_to_standard_output() -> None:
    done = run("mosquitto-acl", "lossy")
    assert done.exit_code == 10
    assert done.stdout.startswith("# yaml-language-server: ")
    assert done.stderr.splitlines()[-1].startswith("<stdout>: 0 identities, 1 permission, ")


def test_quiet_tells_the_losses_alone() -> None:
    done = run("mosquitto-acl", "lossy", "-q", "-o", "policy.yaml")
    assert (done.exit_code, done.stdout) == (10, "")
    assert len(done.stderr.splitlines()) == 1
    assert run("mosquitto-acl", "acl", "-q").stderr == ""


def test_from_standard_input() -> None:
    done = run("mosquitto-acl", "-", given=LOSSY)
    assert "<stdin>:1: left out: " in done.stderr


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("emqx-acl", "acl.conf"),
        ("mosquitto-passwords", "passwd"),
        ("dynamic-security", "dynamic-security.json"),
        ("emqx-builtin", "users.csv"),
        ("emqx-builtin", "users.json"),
    ],
)
def test_what_is_written_validates_and_applies_to_an_empty_store(kind: str, file: str) -> None:
    extra = ["--salt-position", "prefix"] if kind == "emqx-builtin" else []
    assert run(kind, str(DATA / file), "-o", "policy.yaml", *extra).exit_code in (0, 10)
    for command in (["validate"], ["apply", "--yes"]):
        done = CliRunner().invoke(app, [command[0], "policy.yaml", *command[1:]])
        assert (done.exit_code, done.stderr) == (0, "")
    assert CliRunner().invoke(app, ["plan", "policy.yaml"]).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mosquitto-acl", "acl", "lossy"], "mosquitto-acl takes one file; import each with an --instance of its own"),
        (["mosquitto-acl", "acl", "-o", "acl"], "acl: exists already; name another file, or move it away"),
        (
            ["mosquitto-acl", "acl", "-o", "lossy/policy.yaml"],
            "lossy/policy.yaml: cannot be written (",
        ),
        (["mosquitto-acl", "acl", "--source", "api"], "--source: `api` is the name of what the API writes"),
        (["mosquitto-acl", "acl", "--source", ""], "exhook-sync import: --source is empty, as where"),
        (["mosquitto-acl", "acl", "--instance", "a b"], "--instance: 'a b' is no instance id"),
        (["emqx-builtin", str(DATA / "users.csv")], "--salt-position is missing, without which the hashes of"),
        (["no-kind", "acl"], "exhook-sync import: Invalid value for"),
        (["mosquitto-acl"], "exhook-sync import: Missing"),
    ],
)
def test_usage(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 64
    assert done.stderr.startswith(message)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("mosquitto-acl", b"user anna\nread a\n", "bad:2:1: no line of an acl_file"),
        ("mosquitto-acl", b"user anna\n\xff\n", "bad:2:1: not UTF-8"),
        ("mosquitto-acl", b"user anna\ntopic \0a\n", "bad:2:7: a NUL character"),
        ("mosquitto-passwords", b":$7$x\n", "bad:1:1: no user name"),
        ("emqx-acl", b"{allow, all}", "bad:1:13: a full stop is missing"),
        ("emqx-builtin", b"[1", "bad:1:3: a `,` or a `]` is missing"),
        ("dynamic-security", b"{}", "bad:1:1: no file of dynamic security"),
    ],
)
def test_a_file_that_cannot_be_understood(kind: str, data: bytes, message: str, folder: Path) -> None:
    (folder / "bad").write_bytes(data)
    done = run(kind, "bad", "-o", "policy.yaml")
    assert done.exit_code == 3
    assert done.stderr.startswith(message)
    assert not (folder / "policy.yaml").exists()


def test_a_file_that_is_not_there() -> None:
    done = run("mosquitto-acl", "nothing")
    assert (done.exit_code, done.stderr) == (
        3,
        "nothing: cannot be read (No such file or directory); name a file that is there\n",
    )


def test_no_secret_is_told(folder: Path) -> None:
    (folder / "users").write_text(
        "anna:Canary-plain\nbob:$7$101$Canary$Canary\neve:$7$99999999$Q2FuYXJ5$Q2FuYXJ5\nCanary\nmia:$6$Q2FuYXJ5$Q2FuYXJ5\n",
        encoding="utf-8",
    )
    (folder / "plain.csv").write_text("user_id,password\nanna,Canary-plain\nbob,\n", encoding="utf-8")
    outputs = [
        run("mosquitto-passwords", "users", "--report", "one").stderr,
        run("emqx-builtin", "plain.csv", "--report", "two", "-o", "plain.yaml").output,
        *((folder / name).read_text() for name in ("one", "two", "plain.yaml")),
    ]
    assert all(output for output in outputs)
    for output in outputs:
        assert "Canary" not in output
        assert "Q2FuYXJ5" not in output


def test_the_installed_command_explains_itself() -> None:
    environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1"}
    done = subprocess.run([COMMAND, "import", "--help"], capture_output=True, text=True, check=True, env=environment)
    said = " ".join(done.stdout.split())
    for text in ("with 10 if something was", "exhook-sync import mosquitto-acl", "--salt-position"):
        assert text in said

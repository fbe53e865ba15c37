"""A secret that is known to the test is nowhere it does not belong: no output, no error, no file but sealed."""

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stores_under_test import Store, identity, instance
from typer.testing import CliRunner

from store import additions
from store.seal import new_key
from store.sync import apply as applying
from store.sync.cli import app
from store.sync.thresholds import Consent, refusals

CANARY = "Canary-9f2c-Password"
NEXT = "Canary-77aa-Password"
SPELLINGS = [
    spelling
    for secret in (CANARY, NEXT)
    for spelling in (
        secret.encode(),
        base64.b64encode(secret.encode()),
        secret.encode().hex().encode(),
        secret.encode("utf-16-le"),
        json.dumps(secret).strip('"').encode(),
    )
]

POLICY = """format: exhook/v1
identities:
  - {username: by-env, sign_mode: origin, secret: {env: EXHOOK_SECRET_CANARY}}
  - {username: by-file, sign_mode: signed, secret: {file: canary}}
  - {username: by-literal, sign_mode: signed-sha256, secret: {literal: Canary-9f2c-Password}}
  - {username: hashed, sign_mode: hashed, secret: {env: EXHOOK_SECRET_CANARY}}
  - username: two
    sign_mode: hashed
    secrets: [{id: a, literal: Canary-9f2c-Password}, {id: b, file: canary}]
permissions: [{username: by-env, publish: [t]}]
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXHOOK_SECRET_CANARY", CANARY)
    monkeypatch.setenv("EXHOOK_SEAL_KEY", new_key())
    monkeypatch.setenv("EXHOOK_SECRETS_DIR", "secrets")
    Path("secrets").mkdir()
    Path("secrets/canary").write_text(CANARY)
    Path("policy.yaml").write_text(POLICY)
    return Store(tmp_path)


def leaks(said: bytes | str) -> Iterator[bytes]:
    raw = said.encode() if isinstance(said, str) else said
    return (spelling for spelling in SPELLINGS if spelling in raw)


def run(code: int, *arguments: str) -> str:
    """Everything that a command prints; it must end with the code and leak nothing."""
    done = CliRunner().invoke(app, list(arguments), prog_name="exhook-sync")
    assert done.exit_code == code, done.output
    assert list(leaks(done.output)) == []
    return done.output


def files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.glob("*.db*")]


def test_a_life_of_a_secret_leaves_no_trace(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run(0, "validate", "policy.yaml", "-v")
    for output in ("text", "json"):
        run(2, "plan", "policy.yaml", "-v", "--output", output)
    run(0, "apply", "policy.yaml", "-v", "--json")
    monkeypatch.setenv("EXHOOK_SECRET_CANARY", NEXT)
    Path("secrets/canary").write_text(NEXT)
    for output in ("text", "json"):
        run(2, "plan", "policy.yaml", "-v", "--output", output)
    run(9, "drift", "policy.yaml", "-v")
    run(9, "drift", "policy.yaml", "--json")
    run(0, "apply", "policy.yaml", "-v")
    run(0, "export", "-o", "out.yaml")
    assert list(leaks(Path("out.yaml").read_bytes())) == []
    found = files(store.folder)
    assert len(found) >= 1
    assert [list(leaks(raw)) for raw in found] == [[] for _ in found]


def test_the_test_would_see_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a seal key the keys stand in the clear, so the file does hold them."""
    monkeypatch.delenv("EXHOOK_SEAL_KEY")
    run(0, "apply", "policy.yaml")
    assert any(list(leaks(raw)) for raw in files(store.folder))


@pytest.mark.usefixtures("store")
def test_policy_tests_and_lint_do_not_tell() -> None:
    tests = "tests: [{name: t, as: {username: by-literal, client_id: c}, can: {connect: true, publish: [t]}}]\n"
    Path("policy.yaml").write_text(POLICY + tests)
    for flag in ((), ("--json",)):
        run(6, "test", "policy.yaml", "--junit", "report.xml", *flag)
        assert list(leaks(Path("report.xml").read_bytes())) == []
    for output in ("text", "github", "gitlab", "sarif"):
        run(10, "lint", "policy.yaml", "--output", output)


def test_what_is_kept_compared_and_taken_back_does_not_tell(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run(0, "apply", "policy.yaml", "-q")
    monkeypatch.setenv("EXHOOK_SECRET_CANARY", NEXT)
    Path("policy.yaml").write_text(POLICY.replace("publish: [t]", "publish: [u]").replace(CANARY, NEXT))
    for output in ("markdown", "gitlab", "json=plan.json", "markdown=plan.md", "gitlab=plan.gitlab"):
        run(2, "plan", "policy.yaml", "--output", output)
    run(0, "apply", "policy.yaml", "-v", "--json")
    run(0, "snapshot", "--output", "store.snapshot")
    run(0, "plan", "policy.yaml", "--against", "store.snapshot", "-v", "--exit-zero")
    for form in ((), ("--json",)):
        run(0, "history", *form)
        run(0, "show", "2", *form)
    run(0, "rollback", "1", "--yes")
    written = ("store.snapshot", "plan.json", "plan.md", "plan.gitlab")
    assert [list(leaks(Path(name).read_bytes())) for name in written] == [[]] * len(written)
    assert [list(leaks(raw)) for raw in files(store.folder)] == [[] for _ in files(store.folder)]


@pytest.mark.usefixtures("store")
def test_a_comparison_of_commits_does_not_tell() -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments], check=True,
                       capture_output=True)  # fmt: skip

    git("init", "-q")
    for text in (POLICY, POLICY.replace(CANARY, NEXT)):
        Path("policy.yaml").write_text(text)
        git("add", "policy.yaml")
        git("commit", "-q", "-m", "change")
    for form in ((), ("--output", "json"), ("--output", "markdown")):
        run(2, "diff", "HEAD~1", "HEAD", "policy.yaml", *form)


@pytest.mark.usefixtures("store")
def test_refusals_and_mismatches_do_not_tell() -> None:
    run(0, "apply", "policy.yaml")
    run(5, "apply", "policy.yaml", "--checksum", "0" * 64, "-v")
    Path("policy.yaml").write_text(f"sync: {{environment: prod}}\n{POLICY}")
    run(4, "apply", "policy.yaml", "-v")


@pytest.mark.usefixtures("store")
def test_a_foreign_secret_does_not_tell() -> None:
    Path("theirs.yaml").write_text(POLICY.replace("identities", "source: theirs\nidentities", 1))
    run(0, "apply", "theirs.yaml")
    run(4, "apply", "policy.yaml", "-v")
    run(2, "plan", "policy.yaml", "-v", "--adopt", "theirs", "--output", "json")
    run(0, "apply", "policy.yaml", "-v", "--adopt", "theirs")


@pytest.mark.parametrize(
    "broken",
    [
        "identities: [{username: u, sign_mode: origin, secret: Canary-9f2c-Password}]",
        "identities: [{username: u, sign_mode: origin, secret: {literl: Canary-9f2c-Password}}]",
        "identities: [{username: u, sign_mode: origin, secret: {Canary-9f2c-Password: x}}]",
        "identities: [{username: u, secret: {hash: Canary-9f2c-Password}}]",
        "identities: [{username: u, sign_mode: origin, secrets: [Canary-9f2c-Password]}]",
        "identities: [{username: u, sign_mode: origin, secret: {literal: [Canary-9f2c-Password]}}]",
        "identities: [{username: u, sign_mode: origin, secret: {literal: Canary-9f2c-Password",
        "identities: [{username: u, sign_mode: origin, secret: {literal: Canary-9f2c-Password, literal: x}}]",
    ],
)
@pytest.mark.usefixtures("store")
def test_errors_in_a_policy_do_not_tell(broken: str) -> None:
    Path("policy.yaml").write_text(f"format: exhook/v1\n{broken}\n")
    run(3, "validate", "policy.yaml", "-v")
    run(3, "apply", "policy.yaml", "-v")


@pytest.mark.parametrize("name", ["hash_password", "_plain"])
@pytest.mark.usefixtures("store")
def test_an_internal_error_does_not_tell(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError(f"{CANARY} {arguments}")

    monkeypatch.setattr(applying, name, broken)
    assert "RuntimeError" in run(70, "apply", "policy.yaml", "-v")


def test_an_error_in_the_middle_of_a_write_does_not_tell(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError(f"{CANARY} {arguments}")

    monkeypatch.setattr(additions, "work_of", broken)
    run(70, "apply", "policy.yaml", "-v")
    assert store.path.exists()
    assert [list(leaks(raw)) for raw in files(store.folder)] == [[] for _ in files(store.folder)]


def test_no_repr_tells(store: Store) -> None:
    store.environ["EXHOOK_SECRET_CANARY"] = CANARY
    text = POLICY.replace("file: canary", "literal: Canary-9f2c-Password")
    store.put(instance(), identity("by-env"))
    made = store.plan(text, adopt=["api"])
    policy = store.load(text)
    found = refusals(made, policy, "", Consent())
    assert list(leaks(repr((made, found, made.foreign, made.losing, store.sources)))) == []

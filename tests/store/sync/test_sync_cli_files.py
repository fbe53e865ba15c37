"""The commands without a store, help, and what a terminal changes."""

import json
import re
from pathlib import Path

import pytest
from stores_under_test import Store
from sync_commands_under_test import GRANTS, ONE, on_a_terminal, run, workplace

from store.hashes import parse_hash
from store.sync.sample import USERNAME

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return workplace(tmp_path, monkeypatch)


class TestInit:
    @pytest.mark.usefixtures("store")
    def test_the_sample_is_valid_and_applies_as_it_is(self) -> None:
        done = run("init")
        assert done.exit_code == 0
        assert Path("policy.yaml").read_text().startswith("# yaml-language-server: $schema=")
        checked = run("validate", "policy.yaml")
        assert (checked.exit_code, checked.stdout) == (0, "ok: 1 identity, 1 permission, 0 blacklist entries\n")
        assert checked.stderr == ""
        assert run("apply", "policy.yaml").exit_code == 0

    def test_the_password_that_it_shows_is_the_right_one(self, store: Store) -> None:
        found = re.search(rf"user '{USERNAME}' has the password (\S+) ", run("init").stdout)
        assert found
        run("apply", "policy.yaml")
        [secret] = store.secrets(USERNAME)
        assert parse_hash(secret.value.decode()).verify(found[1].encode())
        assert found[1] not in Path("policy.yaml").read_text()

    @pytest.mark.usefixtures("store")
    def test_no_two_files_have_the_same_password(self) -> None:
        assert run("init", "one.yaml", "-q").stdout != run("init", "two.yaml", "-q").stdout

    def test_no_file_is_overwritten(self, store: Store) -> None:
        store.write(ONE)
        before = Path("policy.yaml").read_text()
        done = run("init")
        assert (done.exit_code, done.stderr) == (
            64, "policy.yaml: exists already; name another file, or move it away\n",
        )  # fmt: skip
        assert Path("policy.yaml").read_text() == before

    @pytest.mark.usefixtures("store")
    def test_its_folder_is_made(self) -> None:
        assert run("init", "access/house/policy.yaml").exit_code == 0
        assert run("validate", "access/house").exit_code == 0

    @pytest.mark.usefixtures("store")
    def test_what_cannot_be_written_is_told(self) -> None:
        Path("access").write_text("a file")
        done = run("init", "access/policy.yaml")
        assert (done.exit_code, done.stderr.startswith("access/policy.yaml: cannot be written (")) == (64, True)


class TestValidate:
    def test_warnings_go_to_standard_error(self, store: Store) -> None:
        store.write(ONE.replace("env: EXHOOK_SECRET_U", "literal: x"))
        done = run("validate", "policy.yaml", "-v")
        assert done.exit_code == 0
        assert done.stdout.endswith("source policy; instances: mqtt-default\n")
        assert done.stderr.startswith("policy.yaml:2:")
        assert ": warning: a secret written into the policy" in done.stderr

    @pytest.mark.parametrize("path", ["../outside", "a/../../outside", ".."])
    def test_a_file_outside_of_any_secrets_folder_is_a_mistake(self, store: Store, path: str) -> None:
        store.write(ONE.replace("env: EXHOOK_SECRET_U", f"file: {path}"))
        done = run("validate", "policy.yaml")
        assert (done.exit_code, "no path below the secrets folder" in done.stderr) == (3, True)

    @pytest.mark.parametrize("command", ["validate", "plan"])
    def test_a_variable_that_an_apply_would_not_read_is_told(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, command: str
    ) -> None:
        monkeypatch.setenv("HOME", "x")
        store.write(ONE.replace("EXHOOK_SECRET_U", "HOME"))
        told = (
            "policy.yaml:2:61: warning: a variable that may not be read without --allow-env; name it EXHOOK_SECRET_…\n"
        )
        assert told in run(command, "policy.yaml").stderr
        allowed = run(command, "policy.yaml", "--allow-env")
        assert (allowed.exit_code, "warning" in allowed.stderr) == (0 if command == "validate" else 2, False)
        assert [one["rule"] for one in json.loads(run("validate", "policy.yaml", "--json").stdout)["warnings"]] == [
            "env-prefix"
        ]

    def test_json(self, store: Store) -> None:
        store.write(ONE + GRANTS)
        said = json.loads(run("validate", "policy.yaml", "--json").stdout)
        assert (said["ok"], said["identities"], said["permissions"], said["warnings"]) == (True, 1, 3, [])
        store.write("groups: 1\n")
        done = run("validate", "policy.yaml", "--json")
        assert done.exit_code == 3
        [error] = json.loads(done.stdout)["errors"]
        assert (error["file"], error["line"], error["column"]) == ("policy.yaml", 2, 9)


class TestHash:
    @pytest.mark.parametrize("given", ["pass word", "pass word\n", "pass word\r\n"])
    def test_a_line_of_standard_input(self, given: str) -> None:
        done = run("hash", given=given)
        assert done.exit_code == 0
        assert parse_hash(done.stdout.strip()).verify(b"pass word")

    def test_bytes_that_are_no_text(self) -> None:
        assert parse_hash(run("hash", given=b"\xff\xfe\n").stdout.strip()).verify(b"\xff\xfe")

    def test_nothing_is_no_password(self) -> None:
        assert run("hash", given="\n").exit_code == 64

    def test_on_a_terminal_it_asks_twice_and_shows_nothing(self) -> None:
        code, out = on_a_terminal(["hash"], [(b"Password: ", b"CANARY\n"), (b"Repeat for confirmation: ", b"CANARY\n")])
        assert (code, b"CANARY" in out) == (0, False)
        found = re.search(rb"\$argon2id\$\S+", out)
        assert found
        assert parse_hash(found[0].decode()).verify(b"CANARY")


class TestOnATerminal:
    @pytest.fixture
    def pruned(self, store: Store) -> Store:
        store.apply(GRANTS)
        store.write(f"sync: {{prune: true}}\n{GRANTS.replace(', c', '')}")
        return store

    @pytest.mark.parametrize(("answer", "code", "left"), [(b"y\n", 0, 3), (b"n\n", 4, 4)])
    def test_it_asks_before_removals(self, pruned: Store, answer: bytes, code: int, left: int) -> None:
        ended, out = on_a_terminal(["apply", "policy.yaml"], [(b"Remove 1 record? [y/N]: ", answer)])
        assert (ended, len(pruned.contents())) == (code, left)
        assert out.index(b"user u may publish c") < out.index(b"Remove 1 record?")

    @pytest.mark.usefixtures("pruned")
    def test_yes_answers_before(self) -> None:
        assert on_a_terminal(["apply", "policy.yaml", "--yes"], [])[0] == 0

    def test_ctrl_c_leaves_all_as_it_is(self, pruned: Store) -> None:
        ended, _ = on_a_terminal(["apply", "policy.yaml"], [(b"[y/N]: ", b"\x03")])
        assert (ended, len(pruned.contents())) == (130, 4)

    def test_elsewhere_nobody_is_asked(self, pruned: Store) -> None:
        done = run("apply", "policy.yaml")
        assert (done.exit_code, len(pruned.contents())) == (0, 3)

    @pytest.mark.usefixtures("pruned")
    def test_colours_unless_they_are_unwanted(self) -> None:
        _, coloured = on_a_terminal(["plan", "policy.yaml"], [])
        assert b"\x1b[31m" in coloured
        _, plain = on_a_terminal(["plan", "policy.yaml"], [], NO_COLOR="1")
        assert b"\x1b" not in plain
        assert ESCAPE.sub("", coloured.decode()).split() == plain.decode().split()


def test_the_version_is_told() -> None:
    assert re.fullmatch(r"exhook-sync \d+\.\d+\.\d+\n", run("--version").stdout)

"""The exit codes, and what goes with them on standard error."""

import json
import pkgutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from stores_under_test import Store, identity, instance
from sync_commands_under_test import COMMAND, GRANTS, ONE, run, workplace

from store.seal import new_key
from store.sync import commands_store
from store.sync.apply import apply_policy
from store.sync.exit_codes import EXIT_CODES, ExitCode, exit_code_of


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return workplace(tmp_path, monkeypatch)


class TestExitCodes:
    """Every row of the table that this version can reach."""

    def test_done(self, store: Store) -> None:
        store.write(ONE)
        assert run("apply", "policy.yaml").exit_code == 0
        assert run("apply", "policy.yaml").exit_code == 0
        assert run("plan", "policy.yaml").exit_code == 0
        assert run("drift", "policy.yaml").exit_code == 0

    def test_pending(self, store: Store) -> None:
        store.write(ONE)
        assert run("plan", "policy.yaml").exit_code == 2
        assert run("plan", "policy.yaml", "--exit-zero").exit_code == 0

    @pytest.mark.parametrize("command", ["validate", "plan", "apply", "drift"])
    def test_invalid(self, store: Store, command: str) -> None:
        store.write("identities: [{username: u}]\npermission: []\n")
        done = run(command, "policy.yaml")
        assert done.exit_code == 3
        assert [line.split(":")[:3] for line in done.stderr.splitlines()] == [
            ["policy.yaml", "2", "14"],
            ["policy.yaml", "3", "1"],
        ]
        assert not store.path.exists()

    @pytest.mark.parametrize(
        ("text", "flag"),
        [
            ("source: s\n", "--allow-empty"),
            (f"sync: {{environment: prod}}\n{ONE}", "--label prod"),
            (f"sync: {{prune: true}}\n{ONE}", "--max-removals 12"),
            (ONE, "--adopt api"),
        ],
    )
    def test_refused(self, store: Store, text: str, flag: str) -> None:
        store.put(instance())
        if "adopt" in flag:
            store.put(identity("u"))
        else:
            store.apply(f"permissions: [{{username: u, publish: [{','.join('abcdefghijkl')}]}}]\n")
        store.write(text)
        done = run("apply", "policy.yaml")
        assert (done.exit_code, flag in done.stderr) == (4, True)
        shown = run("plan", "policy.yaml")
        assert "apply would refuse: " in shown.stdout
        assert flag in shown.stdout
        assert shown.exit_code in (0, 2)
        again = run("apply", "policy.yaml", *flag.split())
        assert again.exit_code == 0, again.stderr

    def test_refused_by_quota(self, store: Store) -> None:
        store.write(f"instances: {{mqtt-default: {{record_quota: 1}}}}\n{GRANTS}")
        done = run("apply", "policy.yaml")
        assert (done.exit_code, "record_quota is 1" in done.stderr) == (4, True)

    def test_checksum(self, store: Store) -> None:
        store.put(instance())
        store.write(ONE)
        shown = json.loads(run("plan", "policy.yaml", "--output", "json").stdout)
        store.write(GRANTS)
        done = run("apply", "policy.yaml", "--checksum", shown["checksum"])
        assert (done.exit_code, shown["checksum"] in done.stderr) == (5, True)
        store.write(ONE)
        assert run("apply", "policy.yaml", "--checksum", shown["checksum"]).exit_code == 0

    @pytest.mark.parametrize("checksum", [["--checksum", ""], ["--checksum="]], ids=["apart", "joined"])
    def test_an_empty_checksum_is_refused(self, store: Store, checksum: list[str]) -> None:
        store.write(ONE)
        done = run("apply", "policy.yaml", "--yes", *checksum)
        assert (done.exit_code, store.path.exists()) == (64, False)
        assert done.stderr == (
            "exhook-sync apply: --checksum is empty, as where a script's variable is not set; "
            "give it a value, or leave it out\n"
        )

    def test_an_empty_path_is_not_the_current_folder(self, store: Store) -> None:
        store.write(ONE)
        done = run("apply", "policy.yaml", "")
        assert (done.exit_code, store.path.exists()) == (64, False)
        assert "exhook-sync apply: PATH is empty" in done.stderr

    @pytest.mark.parametrize("command", ["plan", "apply"])
    def test_secret(self, store: Store, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
        monkeypatch.delenv("EXHOOK_SECRET_U")
        store.write(ONE.replace("}}]", "}}, {username: v, sign_mode: origin, secret: {file: x}}]"))
        done = run(command, "policy.yaml")
        assert done.exit_code == 7
        assert done.stderr.splitlines()[-2:] == [
            "policy.yaml:2:55: the variable EXHOOK_SECRET_U is not set; set it where this command runs",
            "policy.yaml:2:121: no folder to read 'x' from; pass `--secrets-dir DIR`",
        ]

    @pytest.mark.parametrize("command", ["drift", "export"])
    def test_no_store(self, store: Store, command: str) -> None:
        store.write(ONE)
        done = run(command, *(["policy.yaml"] if command == "drift" else []))
        assert (done.exit_code, done.stderr.startswith("exhook.db: there is no store;")) == (8, True)

    @pytest.mark.parametrize("command", ["plan", "apply", "drift"])
    def test_no_store_at_all(self, store: Store, command: str) -> None:
        store.write(ONE)
        store.path.write_bytes(b"no database" * 100)
        done = run(command, "policy.yaml")
        assert (done.exit_code, "exhook.db: is no store" in done.stderr) == (8, True)

    def test_a_store_of_a_newer_version(self, store: Store) -> None:
        store.write(ONE)
        run("apply", "policy.yaml")
        with store.open() as database:
            database.connection.execute(
                "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('exhook-store', 'm999', '')"
            )
        done = run("plan", "policy.yaml")
        assert (done.exit_code, "newer exhook" in done.stderr) == (8, True)

    def test_a_locked_store(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(commands_store, "apply_policy", partial(apply_policy, busy_ms=50))
        store.write(ONE)
        run("apply", "policy.yaml")
        store.write(GRANTS)
        with store.open() as other, other.transaction():
            done = run("apply", "policy.yaml")
        assert (done.exit_code, "locked by another writer" in done.stderr) == (8, True)

    def test_a_store_whose_key_is_not_at_hand(self, store: Store) -> None:
        store.write(ONE)
        Path("key").write_text(new_key())
        assert run("apply", "policy.yaml", "--seal-key-file", "key").exit_code == 0
        done = run("plan", "policy.yaml")
        assert (done.exit_code, "--seal-key-file" in done.stderr) == (8, True)
        assert run("plan", "policy.yaml", "--seal-key-file", "key").exit_code == 0

    def test_drift(self, store: Store) -> None:
        store.write(GRANTS)
        run("apply", "policy.yaml")
        store.write(GRANTS.replace("c]", "d]"))
        done = run("drift", "policy.yaml")
        assert done.exit_code == 9
        assert [line[2] for line in done.stdout.splitlines() if line.startswith("  ") and "may" in line] == ["+", "-"]
        assert json.loads(run("drift", "policy.yaml", "--json").stdout)["summary"]["remove"] == 1

    def test_drift_tells_of_records_that_another_source_took(self, store: Store) -> None:
        store.put(instance(), identity("u"))
        store.write(ONE)
        done = run("drift", "policy.yaml")
        assert done.exit_code == 9
        assert "another source owns\n  user u (mqtt-default): api\n" in done.stdout

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["plan"], "exhook-sync plan: Missing argument"),
            (["plan", "--bogus", "x"], "No such option: --bogus"),
            (["aply", "x"], "exhook-sync: No such command 'aply'"),
            (["--bogus"], "No such option: --bogus"),
            (["apply", "x", "--max-removals", "-1"], "--max-removals -1: no whole number from 0 on; write one, such"),
            (["apply", "x", "--max-clients-losing", "x"], "--max-clients-losing x: no whole number from 0 on; write"),
            (["rollback", "abc"], "REV abc: no whole number from 0 on; write one, such as 12"),
            (["rollback", "-1"], "exhook-sync rollback: -1: no number here is below 0; write one from 0 on"),
            (["show", "1.5"], "REV 1.5: no whole number from 0 on"),
            (["show", "9" * 31], "no whole number from 0 on"),
            (["history", "--limit", "0"], "--limit 0: no whole number from 1 on"),
            (
                ["plan", "x", "--output", "html"],
                "--output html: no such output; write text, json, markdown, gitlab, or one of them =FILE",
            ),
            (["plan", "x", "--output", "json="], "no such output"),
            (
                ["plan", "x", "--output", "json=made", "--output", "text", "--output", "text=./made"],
                "--output text=./made: another one goes to this file, and would be overwritten; name two files",
            ),
            ([], "name a command"),
        ],
    )
    @pytest.mark.usefixtures("store")
    def test_usage(self, arguments: list[str], said: str) -> None:
        done = run(*arguments)
        assert (done.exit_code, said in done.stderr) == (64, True)
        assert done.stdout == ""

    @pytest.mark.parametrize("verbose", [False, True])
    def test_internal(self, store: Store, monkeypatch: pytest.MonkeyPatch, *, verbose: bool) -> None:
        message = "CAN" + "ARY"

        def broken(*_: Any, **__: Any) -> None:
            raise ZeroDivisionError(message) from ValueError(message)

        monkeypatch.setattr(commands_store, "make_plan", broken)
        store.write(ONE)
        done = run("plan", "policy.yaml", *(["-v"] if verbose else []))
        assert done.exit_code == 70
        assert "CANARY" not in done.output
        assert ("commands_store.py" in done.stderr) is verbose
        assert done.stderr.splitlines()[-1].startswith("internal error (ZeroDivisionError); ")

    def test_one_place_knows_them_all(self) -> None:
        assert exit_code_of(ZeroDivisionError()) is ExitCode.INTERNAL
        for name, code in EXIT_CODES.items():
            kind = pkgutil.resolve_name(name)
            assert name == f"{kind.__module__}.{kind.__qualname__}"
            assert exit_code_of(kind.__new__(kind)) is code

    def test_the_installed_command_ends_with_them(self, store: Store) -> None:
        store.write(ONE)
        codes = [
            subprocess.run([COMMAND, *line.split()], capture_output=True, check=False).returncode
            for line in (
                "plan policy.yaml",
                "apply policy.yaml",
                "plan policy.yaml",
                "plan nowhere.yaml",
                "--version",
                "",
            )
        ]
        assert codes == [2, 0, 0, 3, 0, 64]

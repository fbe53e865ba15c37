"""What plan, apply, drift and export print."""

import json
import subprocess
from pathlib import Path

import pytest
from stores_under_test import Store, identity, instance
from sync_commands_under_test import COMMAND, GRANTS, ONE, run, workplace

from store.seal import new_key


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return workplace(tmp_path, monkeypatch)


class TestPlan:
    def test_how_it_reads(self, store: Store) -> None:
        text = (
            "identities:\n"
            "  - {id: s, username: sensors, sign_mode: signed, secrets: [{id: a, literal: x}, {id: b, literal: y}]}\n"
            "permissions:\n  - {username: sensors, publish: [up], subscribe: [down]}\n"
        )
        store.apply(text)
        store.write(
            "identities:\n"
            "  - {id: s, username: sensors, sign_mode: signed, note: n, "
            "secrets: [{id: a, literal: z}, {id: c, literal: x, expires: 2030-01-01}]}\n"
            "permissions:\n  - {username: sensors, both: [up]}\n"
            "blacklist: [{client_id: c-1, reason: stolen, expires: 2030-01-01}]\n"
        )
        done = run("plan", "policy.yaml")
        *lines, _, last = done.stdout.splitlines()
        assert lines == [
            "identities",
            "  ~ user sensors (mqtt-default)  [s]  policy.yaml:3",
            "      note: none → n",
            "      secret a: another value",
            "      secret b: removed",
            "      secret c: added",
            "permissions",
            "  ~ user sensors may publish and subscribe up (mqtt-default)  policy.yaml:5",
            "      action: PUB → PUB_SUB",
            "blacklist",
            "  + client c-1 may not connect (mqtt-default)  policy.yaml:6",
            "loses something",
            "  user sensors (mqtt-default): a secret goes",
            "  client c-1 (mqtt-default): is blacklisted",
            "  (felt at the next publish or subscribe; a subscription that stands ends with the connection)",
            "is let back in",
            "  client c-1 (mqtt-default) at 2030-01-01T00:00:00Z",
            "1 to add, 2 to change, 0 to remove; 2 clients lose something",
        ]
        assert last == (
            "1 record left the policy and stays in force, since nothing is pruned (--prune removes): "
            "user sensors may subscribe down (mqtt-default)"
        )
        assert done.stdout.splitlines()[-2].startswith("checksum ")

    def test_without_a_store_none_is_made(self, store: Store) -> None:
        store.write(ONE)
        done = run("plan", "policy.yaml")
        assert "there is no store yet" in done.stderr
        assert list(Path().iterdir()) == [Path("policy.yaml")]

    def test_fifty_of_a_kind_are_shown(self, store: Store) -> None:
        store.write(f"permissions: [{{username: u, publish: [{','.join(f't{number}' for number in range(60))}]}}]\n")
        shown = run("plan", "policy.yaml").stdout
        assert shown.count("may publish") == 50
        assert "  … and 10 more; --all shows them\n" in shown
        assert run("plan", "policy.yaml", "--all").stdout.count("may publish") == 60

    def test_several_outputs_at_once(self, store: Store) -> None:
        store.write(GRANTS)
        done = run("plan", "policy.yaml", "--output", "text", "--output", "json=plan.json", "--output", "text=plan.txt")
        assert "4 to add" in done.stdout
        assert Path("plan.txt").read_text() == done.stdout
        said = json.loads(Path("plan.json").read_text())
        assert said["checksum"] in done.stdout
        assert said["summary"] == {"add": 4, "change": 0, "remove": 0, "clients_losing": 0, "kept": 0}

    def test_json_says_what_and_where(self, store: Store) -> None:
        store.put(instance(), identity("v"))
        store.apply("blacklist: [{username: w}]\n")
        store.write(f"sync: {{environment: prod}}\n{ONE.replace('}}]', '}}, {username: v, sign_mode: external}]')}")
        said = json.loads(run("plan", "policy.yaml", "--output", "json").stdout)
        assert said["changes"] == [
            {
                "operation": "add",
                "kind": "identity",
                "key": ["mqtt-default", "USER", "u", ""],
                "id": "",
                "source": "policy",
                "origin": "policy.yaml:3",
                "before": None,
                "after": {
                    "source": "policy",
                    "instance": "mqtt-default",
                    "identity_type": "USER",
                    "username": "u",
                    "sign_mode": "ORIGIN",
                    "secrets": [{"id": "default"}],
                },
                "secrets_changed": {"default": "added"},
            }
        ]
        assert [one["key"] for one in said["kept"]] == [["mqtt-default", "", "w", "policy"]]
        assert said["foreign"] == [
            {"record": "user v (mqtt-default)", "id": "v", "owner": "api", "origin": "policy.yaml:3"}
        ]
        assert [one["rule"] for one in said["refusals"]] == ["environment", "foreign"]

    def test_no_fingerprint_is_shown(self, store: Store) -> None:
        store.write(ONE)
        run("apply", "policy.yaml")
        with store.open() as database:
            [printed] = [row[0] for row in database.connection.execute("SELECT fingerprint FROM identity_secrets")]
        store.write(ONE.replace("u,", "u, note: n,"))
        for output in (["text"], ["json"]):
            assert printed not in run("plan", "policy.yaml", "--output", *output).output

    @pytest.mark.usefixtures("store")
    def test_standard_input_is_a_policy(self) -> None:
        done = run("plan", "-", given=f"format: exhook/v1\n{ONE}")
        assert (done.exit_code, "<stdin>:2" in done.stdout) == (2, True)

    def test_quiet_says_it_by_the_code_alone(self, store: Store) -> None:
        store.write(ONE.replace("env: EXHOOK_SECRET_U", "literal: x"))
        done = run("plan", "policy.yaml", "-q")
        assert (done.exit_code, done.output) == (2, "")

    def test_a_reader_that_leaves_early_is_no_error(self, store: Store) -> None:
        store.write(f"blacklist: [{', '.join(f'{{client_id: c{number}}}' for number in range(5000))}]\n")
        line = f"{COMMAND} plan policy.yaml --all 2>err | head -1"
        out = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout
        assert out == "instances\n"
        assert "Broken" not in Path("err").read_text()


class TestHostileNames:
    """Names from files and from the store cannot steer a terminal, nor read as markup."""

    TEXT = (
        "identities:\n"
        '  - {username: "a\\e[2J\\u202Eb[red]c", sign_mode: origin, note: "[b]\\nx", secret: {env: EXHOOK_SECRET_U}}\n'
    )

    @pytest.mark.parametrize("command", ["plan", "apply", "drift"])
    def test_they_are_escaped(self, store: Store, command: str) -> None:
        store.write(self.TEXT)
        if command == "drift":
            store.put(instance("other"))
        out = run(command, "policy.yaml").output
        assert r"user a\x1b[2J\u202eb[red]c (mqtt-default)" in out
        assert "\x1b" not in out
        assert "\u202e" not in out

    def test_in_errors_too(self, store: Store) -> None:
        name = "a\x1b[2J.yaml"
        store.write("groups: 1\n", name)
        done = run("validate", name)
        assert done.exit_code == 3
        assert "\x1b" not in done.stderr

    def test_in_refusals_too(self, store: Store) -> None:
        store.write(self.TEXT)
        store.put(instance(), identity("a\x1b[2J\u202eb[red]c"))
        done = run("apply", "policy.yaml")
        assert (done.exit_code, "\x1b" in done.stderr) == (4, False)


class TestApply:
    def test_json(self, store: Store) -> None:
        store.write(GRANTS)
        said = json.loads(run("apply", "policy.yaml", "--json").stdout)
        assert (said["revision"], said["summary"]["add"], said["commit"]) == (1, 4, "")

    def test_unsealed_secrets_are_told(self, store: Store) -> None:
        store.write(ONE)
        assert "warning: secrets are stored unsealed" in run("apply", "policy.yaml").stderr

    def test_sealed_ones_are_not(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EXHOOK_SEAL_KEY", new_key())
        store.write(ONE)
        assert run("apply", "policy.yaml").stderr == ""

    def test_where_things_are_may_stand_in_the_environment(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        Path("secrets").mkdir()
        Path("secrets/s").write_text("from a file\n")
        monkeypatch.setenv("EXHOOK_DB", "elsewhere.db")
        monkeypatch.setenv("EXHOOK_SECRETS_DIR", "secrets")
        store.write(ONE.replace("env: EXHOOK_SECRET_U", "file: s"))
        assert run("apply", "policy.yaml").exit_code == 0
        store.path = Path("elsewhere.db")
        assert store.secrets("u")[0].value == b"from a file"

    def test_other_variables_need_a_flag(self, store: Store) -> None:
        store.write(ONE.replace("EXHOOK_SECRET_U", "HOME"))
        assert run("apply", "policy.yaml").exit_code == 7
        assert run("apply", "policy.yaml", "--allow-env").exit_code == 0


class TestExport:
    def test_to_a_file_and_back(self, store: Store) -> None:
        store.write(ONE + GRANTS)
        run("apply", "policy.yaml")
        done = run("export", "-o", "out.yaml")
        assert (done.exit_code, done.stdout) == (0, "out.yaml is written: the records of policy\n")
        assert run("plan", "out.yaml", "--prune").exit_code == 0
        assert run("export").stdout == Path("out.yaml").read_text()

    def test_the_source_must_be_known(self, store: Store) -> None:
        store.apply(f"source: plant\n{GRANTS}")
        assert "source: plant" in run("export").stdout
        done = run("export", "--source", "nobody")
        assert (done.exit_code, done.stderr) == (
            64, "exhook.db: holds no records of nobody; name one of its sources by --source: plant\n",
        )  # fmt: skip
        store.apply(f"source: office\n{GRANTS}")
        done = run("export")
        assert (done.exit_code, done.stderr) == (
            64, "exhook.db: holds records of several sources; name one of its sources by --source: office, plant\n",
        )  # fmt: skip

    def test_an_empty_store_has_nothing_to_export(self, store: Store) -> None:
        with store.open():
            pass
        done = run("export")
        assert (done.exit_code, done.stderr) == (64, "exhook.db: holds no records; apply a policy to it first\n")

    def test_a_file_that_cannot_be_written_is_told(self, store: Store) -> None:
        store.apply(GRANTS)
        done = run("export", "-o", "nowhere/out.yaml")
        assert (done.exit_code, done.stderr.startswith("nowhere/out.yaml: cannot be written")) == (64, True)

"""`exhook-sync schema`, and `exhook-sync user add`, which writes into a file that somebody else wrote."""

import json
import re
from pathlib import Path

import pytest
from policy_schema_under_test import faults
from stores_under_test import Store
from sync_commands_under_test import on_a_terminal, run, workplace

from store.hashes import parse_hash
from store.records import Action, Effect, Grantee, IdentityType, SignMode
from store.sync import commands_documents
from store.sync.document import load_policy
from store.sync.formatting import WouldChange, formatted
from store.sync.json_schema import FILE_NAME, schema_text
from store.sync.policy import IdentitySpec, Policy

CANARY = "Canary-51d0-Password"
COMMENTED = """\
# Who keeps this file: the night shift.
format: exhook/v1
identities:   # people
  # Anna came first.
  - id: anna
    username: anna   # the gardener
    sign_mode: origin
    secret: {env: EXHOOK_SECRET_U}

# What they may.
permissions:
  - {id: anna-garden, username: anna, both: ["garden/#"]}   # all of it

blacklist:
  - client_id: old   # lost
"""
READINGS = ("--publish", "plant/${clientid}/up", "--publish", "plant/hello", "--subscribe", "plant/${clientid}/#")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return workplace(tmp_path, monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(COMMENTED)
    return path


def policy() -> Policy:
    return load_policy([Path("policy.yaml")])


def added(username: str) -> IdentitySpec:
    (found,) = [one for one in policy().identities if one.username == username]
    return found


class TestSchema:
    def test_it_is_printed(self) -> None:
        done = run("schema")
        assert (done.exit_code, done.stdout, done.stderr) == (0, schema_text(), "")

    @pytest.mark.parametrize("flag", ["-o", "--output"])
    def test_it_is_written(self, flag: str) -> None:
        done = run("schema", flag, FILE_NAME)
        assert done.exit_code == 0
        assert json.loads(Path(FILE_NAME).read_text()) == json.loads(schema_text())
        assert f"$schema={FILE_NAME}`" in done.stdout

    @pytest.mark.parametrize("flag", ["-q", "--quiet"])
    def test_quietly(self, flag: str) -> None:
        assert run("schema", "-o", FILE_NAME, flag).output == ""
        assert Path(FILE_NAME).read_text() == schema_text()

    def test_an_old_one_is_replaced(self) -> None:
        Path(FILE_NAME).write_text("old")
        assert run("schema", "-o", FILE_NAME).exit_code == 0
        assert Path(FILE_NAME).read_text() == schema_text()

    def test_where_nothing_can_be_written(self) -> None:
        done = run("schema", "-o", f"nowhere/{FILE_NAME}")
        why = "cannot be written (No such file or directory); name a file in a folder that exists"
        assert (done.exit_code, done.stderr) == (64, f"nowhere/policy.schema.json: {why}\n")


class TestWhatIsAdded:
    def test_a_fleet_that_signs(self, file: Path, store: Store) -> None:
        done = run("user", "add", "meters", "--sign-mode", "signed", "--secret-env", "EXHOOK_SECRET_U", *READINGS)
        assert (done.exit_code, done.stdout, done.stderr) == (0, "policy.yaml: meters is added\n", "")
        assert faults(file.read_bytes()) == []
        new = added("meters")
        assert (new.identity_type, new.sign_mode, new.id) == (IdentityType.USER, SignMode.SIGNED, "meters")
        granted = {(one.topic, one.action): one.identity for one in policy().permissions if one.identity == "meters"}
        assert granted == {
            ("plant/${clientid}/up", Action.PUB): "meters",
            ("plant/hello", Action.PUB): "meters",
            ("plant/${clientid}/#", Action.SUB): "meters",
        }
        assert run("plan", "policy.yaml").exit_code == 2
        assert run("apply", "policy.yaml").exit_code == 0
        assert [secret.value for secret in store.secrets("meters")] == [b"one"]
        assert run("plan", "policy.yaml").exit_code == 0

    @pytest.mark.usefixtures("file")
    def test_one_client_alone(self) -> None:
        words = ("--client-id", "dash-01", "--password-stdin", "--id", "hall", "--subscribe", "plant/#")
        assert run("user", "add", "dashboard", *words, given=f"{CANARY}\n").exit_code == 0
        new = added("dashboard")
        assert (new.identity_type, new.client_id, new.id) == (IdentityType.CLIENT, "dash-01", "hall")
        (grant,) = [one for one in policy().permissions if one.topic == "plant/#"]
        assert (grant.identity_type, grant.identity, grant.effect, grant.id) == (
            Grantee.CLIENT, "dash-01", Effect.ALLOW, "hall-topics",
        )  # fmt: skip

    @pytest.mark.parametrize("mode", ["origin", "signed", "signed-sha256", "hashed"])
    @pytest.mark.parametrize("secret", ["env", "file"])
    @pytest.mark.usefixtures("file")
    def test_every_mode_with_every_secret(self, mode: str, secret: str) -> None:
        value = {"env": "EXHOOK_SECRET_U", "file": "u.txt"}[secret]
        assert run("user", "add", "new", "--sign-mode", mode, f"--secret-{secret}", value).exit_code == 0
        assert f"sign_mode: {mode}\n    secret: {{{secret}: {value}}}\n" in Path("policy.yaml").read_text()
        Path("secrets").mkdir()
        Path("secrets/u.txt").write_text("two")
        assert run("apply", "policy.yaml", "--secrets-dir", "secrets").exit_code == 0

    @pytest.mark.usefixtures("file")
    def test_whom_the_broker_proves(self) -> None:
        assert run("user", "add", "certified", "--sign-mode", "external").exit_code == 0
        new = added("certified")
        assert (new.sign_mode, new.secrets) == (SignMode.EXTERNAL, ())

    @pytest.mark.parametrize("newline", ["", "\n", "\r\n"])
    def test_a_password_is_hashed_and_never_told(self, file: Path, newline: str) -> None:
        done = run("user", "add", "bob", "--password-stdin", given=f"{CANARY}{newline}")
        assert CANARY not in done.output + file.read_text()
        found = re.search(r"\$argon2id\$\S+(?=\")", file.read_text())
        assert found
        assert parse_hash(found[0]).verify(CANARY.encode())
        assert added("bob").sign_mode is SignMode.HASHED

    def test_on_a_terminal_the_password_is_asked_for_twice(self, file: Path) -> None:
        answer = f"{CANARY}\n".encode()
        code, out = on_a_terminal(
            ["user", "add", "bob", "--password-stdin"],
            [(b"Password: ", answer), (b"Repeat for confirmation: ", answer)],
        )
        assert (code, CANARY.encode() in out) == (0, False)
        assert "bob" in file.read_text()

    def test_what_stands_there_stays(self, file: Path) -> None:
        assert run("user", "add", "bob", "--sign-mode", "external", "--subscribe", "news").exit_code == 0
        assert file.read_text() == COMMENTED.replace(
            "\n# What they may.", "  - id: bob\n    username: bob\n    sign_mode: external\n\n# What they may."
        ).replace(
            "\nblacklist:", '  - id: bob-topics\n    username: bob\n    subscribe: ["news"]\n\nblacklist:'
        )  # fmt: skip

    def test_another_file_quietly(self, store: Store) -> None:
        other = store.write("vars: {a: b}\n", "people.yaml")
        done = run("user", "add", "bob", "--sign-mode", "external", "--file", "people.yaml", "-q")
        assert (done.exit_code, done.output) == (0, "")
        assert load_policy([other]).identities[0].username == "bob"
        assert not Path("policy.yaml").exists()

    @pytest.mark.parametrize(
        "text",
        [
            "format: exhook/v1\n",
            "format: exhook/v1\nidentities: []\npermissions: []\n",
            "format: exhook/v1\nidentities:\npermissions:\n",
            "format: exhook/v1\nidentities: [{username: a, sign_mode: external}]\n",
            "format: exhook/v1\nblacklist: [{client_id: x}]\n",
            "format: exhook/v1\r\nidentities:\r\n- username: a\r\n  sign_mode: external\r\n",
        ],
    )
    def test_wherever_there_is_a_place(self, file: Path, text: str) -> None:
        file.write_bytes(text.encode())
        done = run("user", "add", "bob", "--sign-mode", "external", "--publish", "news")
        if done.exit_code == 3:  # keys without a value are no policy, before or after
            assert file.read_bytes() == text.encode()
            return
        assert done.exit_code == 0, done.output
        assert added("bob").sign_mode is SignMode.EXTERNAL
        assert file.read_bytes().count(b"\r\n") in (0, file.read_bytes().count(b"\n"))

    @pytest.mark.usefixtures("file")
    def test_ids_that_are_taken_get_a_number(self) -> None:
        words = ("--sign-mode", "external", "--client-id", "c1", "--publish", "news")
        assert run("user", "add", "anna", *words).exit_code == 0
        assert sorted(one.id for one in policy().identities) == ["anna", "anna-2"]

    @pytest.mark.parametrize("name", ["no", "1e3", "a: b", "- a", "#", "é🎉", "${x}", '"', "\\"])
    @pytest.mark.usefixtures("file")
    def test_names_stay_what_they_are(self, name: str) -> None:
        done = run("user", "add", "--sign-mode", "external", "--subscribe", "a/#", "--", name)
        assert done.exit_code == 0, done.output
        assert added(name).username == name


class TestWhatIsRefused:
    """One sentence, an exit code, and a file that is as it was."""

    @pytest.mark.parametrize(
        ("arguments", "code", "said"),
        [
            (["bob"], 64, "name one source of the secret: --secret-env, --secret-file or --password-stdin"),
            (["bob", "--secret-env", "EXHOOK_SECRET_U", "--password-stdin"], 64, "name one source of the secret"),
            (["bob", "--secret-env", "A", "--secret-file", "b", "--sign-mode", "origin"], 64, "name one source"),
            (["bob", "--sign-mode", "external", "--secret-file", "b"], 64, "name one source of the secret"),
            (["bob", "--secret-env", "EXHOOK_SECRET_U"], 64, "--sign-mode is missing: hashed "),
            (["bob", "--secret-file", "b"], 64, "--sign-mode is missing: hashed "),
            (["bob", "--secret-env", "EXHOOK_SECRET_U", "--sign-mode", "sined"], 3, "sined"),
            (["bob", "--sign-mode", "signed", "--password-stdin"], 3, "hash"),
            (["anna", "--sign-mode", "external"], 64, "the identity 'anna' is given already, at policy.yaml:5"),
            (["bob", "--sign-mode", "external", "--id", "anna"], 64, "the id 'anna' is taken, at policy.yaml:5"),
            (["bob", "--sign-mode", "external", "--publish", "a/#/b"], 3, "a/#/b"),
            (["bob", "--sign-mode", "external", "--subscribe", "a/${clientId}"], 3, "clientId"),
            (["Token|a|b", "--sign-mode", "external"], 3, "Token|"),
            (["", "--sign-mode", "external"], 64, "NAME is empty"),
            (["bob", "--sign-mode", "external", "--file", "none.yaml"], 3, "none.yaml: cannot be read (No such file"),
            (["bob", "--sign-mode", "external", "--file", "."], 3, "cannot be read"),
            ([], 64, "Missing argument 'NAME'"),
            (["bob", "--bogus"], 64, "No such option: --bogus"),
        ],
    )  # fmt: skip
    def test_told_and_nothing_written(self, file: Path, arguments: list[str], code: int, said: str) -> None:
        done = run("user", "add", *arguments, given=f"{CANARY}\n")
        assert (done.exit_code, said in done.stderr) == (code, True), done.output
        assert CANARY not in done.output
        assert (file.read_text(), [one.name for one in Path().iterdir()]) == (COMMENTED, [file.name])

    def test_no_line_is_named_that_nobody_can_look_at(self, file: Path) -> None:
        file.write_text("format: exhook/v1\n")
        done = run("user", "add", "bob", "--sign-mode", "external", "--publish", "a/#/b")
        assert (done.exit_code, done.stderr.startswith("policy.yaml: 'a/#/b'")) == (3, True), done.stderr
        assert done.stderr.endswith("; nothing was written, ask for another user\n")

    @pytest.mark.parametrize("given", ["", "\n", "\r\n"])
    def test_an_empty_password(self, file: Path, given: str) -> None:
        done = run("user", "add", "bob", "--password-stdin", given=given)
        assert (done.exit_code, "an empty password" in done.stderr) == (64, True)
        assert file.read_text() == COMMENTED

    @pytest.mark.parametrize(
        ("text", "code", "said"),
        [
            ("format: exhook/v1\nidentities: [\n", 3, "policy.yaml:"),
            ("format: exhook/v1\nidentity: []\n", 3, "unknown key `identity`"),
            ("{format: exhook/v1}\n", 64, "the whole file is written in brackets"),
        ],
    )
    def test_a_file_that_has_no_place(self, file: Path, text: str, code: int, said: str) -> None:
        file.write_text(text)
        done = run("user", "add", "bob", "--sign-mode", "external")
        assert (done.exit_code, said in done.stderr) == (code, True), done.output
        assert file.read_text() == text

    def test_a_section_that_is_an_alias(self, file: Path) -> None:
        text = "format: exhook/v1\nroles: {r: {publish: &t [a]}}\npermissions: [{everyone: true, subscribe: *t}]\n"
        file.write_text(f"{text}blacklist: &b [{{username: x}}]\n")
        assert run("user", "add", "bob", "--sign-mode", "external", "--publish", "n").exit_code == 0

    def test_a_disk_that_is_full(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        monkeypatch.setattr("os.replace", full)
        done = run("user", "add", "bob", "--sign-mode", "external")
        assert (done.exit_code, "policy.yaml: cannot be written" in done.stderr) == (64, True)
        monkeypatch.undo()
        assert file.read_text() == COMMENTED
        assert [one.name for one in file.parent.iterdir()] == [file.name]

    def test_a_user_alone_names_no_command(self) -> None:
        done = run("user")
        assert (done.exit_code, "name a command" in done.stderr) == (64, True)


class TestFmt:
    def test_a_file_that_is_beyond_it_stops_no_other(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made = formatted

        def broken(data: bytes) -> str:
            if b"night shift" in data:
                raise WouldChange("the formatted text would lose a comment; nothing was written")
            return made(data)

        monkeypatch.setattr(commands_documents, "formatted", broken)
        Path("zz.yaml").write_text("groups: [ GID_Meters ]\nformat: exhook/v1\n")
        done = run("fmt", ".")
        assert (done.exit_code, done.stdout) == (70, "zz.yaml: formatted\n")
        assert done.stderr == (
            "policy.yaml: is left as it is, for formatted it would lose a comment or say something else; "
            "a bug, please report it\n"
        )
        assert file.read_text() == COMMENTED
        assert Path("zz.yaml").read_text() == "format: exhook/v1\ngroups: [GID_Meters]\n"

    def test_a_file_that_is_not_there_is_what_it_is_to_validate(self) -> None:
        told = [run(command, "none.yaml") for command in ("fmt", "validate")]
        assert {(done.exit_code, done.stderr) for done in told} == {
            (3, "none.yaml: cannot be read (No such file or directory); name a policy file or a folder of them\n")
        }

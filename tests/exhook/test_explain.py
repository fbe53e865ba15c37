"""`exhook explain`: the same decisions as the server's, with why, from a store or straight from files."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commands_under_test import Exhook
from worker_under_test import INSTANCE, Serve, Store

from store.seal import SealKeys, new_key
from store.sync.apply import apply_policy
from store.sync.references import SecretSources

POLICY = f"""\
format: exhook/v1
source: plant
defaults: {{instance: {INSTANCE}}}
groups: [GID_Sensors]
identities:
  - id: sensors
    username: sensors
    sign_mode: signed
    client_ids: {{group: GID_Sensors}}
    secrets: [{{id: "2026-08", env: EXHOOK_SECRET_SENSORS}}]
  - {{id: alice, username: alice, sign_mode: origin, secret: {{literal: right}}}}
  - {{id: hashed, username: hashed, secret: {{hash: "$6$AAAAAAAAAAAAAAAA${"A" * 86}=="}}}}
  - {{id: from-env, username: from-env, sign_mode: hashed, secret: {{env: EXHOOK_SECRET_PASSWORD}}}}
  - {{id: guest, username: guest, sign_mode: origin, secret: {{literal: right}}, expires: 2030-01-01T00:00:00Z}}
  - {{id: owner, username: owner, client_id: dash-01, sign_mode: origin, secret: {{literal: right}}}}
permissions:
  - id: sensor-own
    username: sensors
    publish: ["plant/${{clientid}}/up"]
  - id: alice-hears
    username: alice
    subscribe: ["plant/line1/+", "plant/line1/up/deep"]
  - id: alice-until
    username: alice
    publish: ["dated/x"]
    expires: 2030-01-01T00:00:00Z
  - id: alice-not
    username: alice
    deny: {{both: ["plant/line9/vault/#"]}}
  - id: certified
    username: alice
    publish: ["by/${{cn}}/#"]
blacklist:
  - {{id: stolen, client_id: GID_Sensors@@@0007, reason: reported stolen}}
"""
SECRETS = {"EXHOOK_SECRET_SENSORS": "XXXXX", "EXHOOK_SECRET_PASSWORD": "right"}

ALICE = ("--username", "alice", "--client-id", "c")
SENSOR = ("--username", "sensors", "--client-id", "GID_Sensors@@@0001")


def line_of(text: str) -> int:
    """The line of the policy that begins so."""
    return next(number for number, line in enumerate(POLICY.splitlines(), 1) if line.strip().startswith(text))


def fill(folder: Path, keys: SealKeys | None = None) -> None:
    (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")
    sources = SecretSources(SECRETS, None)
    apply_policy(folder / "exhook.db", keys or SealKeys(), [Path("policy.yaml")], sources, actor="test")


@pytest.fixture
def exhook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exhook:
    return Exhook(capsys, monkeypatch, tmp_path)


@pytest.fixture
def filled(exhook: Exhook, tmp_path: Path) -> Path:  # noqa: ARG001 - it goes to the folder first
    """A store, `./exhook.db`, that the policy was applied to."""
    fill(tmp_path)
    return tmp_path / "exhook.db"


def told(exhook: Exhook, *arguments: str, **more: Any) -> dict[str, Any]:
    """What `--json` prints, with the exit code that goes with it."""
    said = exhook("explain", "--json", *arguments, **more)
    assert said.err == ""
    answer: dict[str, Any] = json.loads(said.out)
    assert answer.keys() == {"allow", "reason", "rule", "nearest", "revision", "passed_on", "secret_id"}
    assert said.code == (0 if answer["allow"] else 1)
    assert said.out.count("\n") == 1
    return answer


@pytest.mark.usefixtures("filled")
class TestConnect:
    def test_the_right_password(self, exhook: Exhook) -> None:
        said = exhook("explain", *ALICE, "--password-stdin", "connect", stdin=b"right\n")
        place = f"policy.yaml:{line_of('- {id: alice,')}"
        assert said.code == 0
        assert said.out.splitlines() == [
            "allow: allowed (revision 1)",
            f"  rule:    identity alice: USER alice [plant, {place}]",
            "  secret:  default",
        ]

    @pytest.mark.parametrize(("stdin", "code"), [(b"right", 0), (b"right\r\n", 0), (b"right\n\n", 1), (b" right", 1)])
    def test_one_line_end_is_no_part_of_the_password(self, exhook: Exhook, stdin: bytes, code: int) -> None:
        assert exhook("explain", *ALICE, "--password-stdin", "connect", stdin=stdin).code == code

    def test_a_wrong_one(self, exhook: Exhook) -> None:
        answer = told(exhook, *ALICE, "--password-stdin", "connect", stdin=b"wrong")
        assert (answer["reason"], answer["secret_id"]) == ("wrong_password", None)
        assert answer["rule"]["id"] == "alice"

    def test_a_signed_one_names_the_secret(self, exhook: Exhook) -> None:
        signed = exhook("sign", *SENSOR).out.encode()
        answer = told(exhook, *SENSOR, "--password-stdin", "connect", stdin=signed)
        assert (answer["allow"], answer["secret_id"]) == (True, "2026-08")

    def test_without_a_password_it_cannot_say(self, exhook: Exhook) -> None:
        said = exhook("explain", *ALICE, "connect")
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith("cannot say: the password decides: identity alice: USER alice [plant, policy.yaml:")
        assert said.err.endswith("give it with --password-stdin\n")

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (("--username", "nobody", "--client-id", "c"), "unknown_identity"),
            (("--username", "sensors", "--client-id", "GID_Sensors@@@0007"), "blacklisted"),
            (("--username", "alice", "--client-id", "dash-01"), "client_id_owned"),
            (("--username", "Token|x|y", "--client-id", "c"), "wrong_instance"),
            (("--username", f"Token|x|{INSTANCE}", "--client-id", "c"), "unknown_identity"),
            (("--username", "alice", "--client-id", ""), "invalid_input"),
            (("--username", "alice", "--client-id", "c", "--instance", "mqtt-other"), "wrong_instance"),
        ],
    )
    def test_what_no_password_changes_is_said_without_one(
        self, exhook: Exhook, arguments: tuple[str, ...], reason: str
    ) -> None:
        assert told(exhook, *arguments, "connect")["reason"] == reason

    def test_an_empty_password_is_not_an_unknown_one(self, exhook: Exhook) -> None:
        assert told(exhook, *ALICE, "--password-stdin", "connect", stdin=b"")["reason"] == "invalid_input"

    def test_who_is_not_admitted_sees_which_identity_came_nearest(self, exhook: Exhook) -> None:
        answer = told(exhook, "--username", "sensors", "--client-id", "c", "connect")
        assert (answer["reason"], answer["rule"]) == ("unknown_identity", None)
        assert answer["nearest"]["why"] == "client_ids"
        assert answer["nearest"]["level"] is None
        assert answer["nearest"]["rule"]["id"] == "sensors"
        assert answer["nearest"]["explanation"] == "its client_ids do not admit 'c'"

    def test_bytes_that_are_no_text_are_refused(self, exhook: Exhook) -> None:
        # What a shell hands over for \xff.
        assert told(exhook, "--username", "alice", "--client-id", "\udcff", "connect")["reason"] == "invalid_input"


@pytest.mark.usefixtures("filled")
class TestTopics:
    @pytest.mark.parametrize(
        ("action", "topic", "rule"),
        [("subscribe", "plant/line1/+", "alice-hears"), ("subscribe", "plant/line1/x", "alice-hears"),
         ("publish", "dated/x", "alice-until"), ("publish", "by/cert-1/x/y", "certified")],
    )  # fmt: skip
    def test_allowed(self, exhook: Exhook, action: str, topic: str, rule: str) -> None:
        answer = told(exhook, *ALICE, "--cn", "cert-1", action, topic)
        assert (answer["reason"], answer["nearest"]) == ("allowed", None)
        assert answer["rule"]["id"] == rule

    def test_text_for_people(self, exhook: Exhook) -> None:
        said = exhook("explain", *ALICE, "subscribe", "plant/line9/#")
        hears, vault = (f"[plant, policy.yaml:{line_of(text)}]" for text in ('subscribe: ["plant/line1', "deny: {both"))
        assert said.code == 1
        assert said.out.splitlines() == [
            "deny: denied (revision 1)",
            f"  rule:    permission alice-not: DENY PUB_SUB 'plant/line9/vault/#' for USER alice {vault}",
        ]
        said = exhook("explain", *ALICE, "subscribe", "plant/line1/up/deeper")
        assert said.out.splitlines() == [
            "deny: no_match (revision 1)",
            f"  nearest: permission alice-hears: ALLOW SUB 'plant/line1/up/deep' for USER alice {hears}",
            "           stops covering at level 4 of 'plant/line1/up/deeper': 'deeper'",
        ]

    @pytest.mark.parametrize(
        ("asked", "level", "explanation"),
        [
            ("subscribe plant/line2/x", 1, "stops covering at level 2 of 'plant/line2/x': 'line2'"),
            ("subscribe plant/+/x", 1, "stops covering at level 2 of 'plant/+/x': '+'"),
            ("subscribe x/#", 0, "stops covering at level 1 of 'x/#': 'x'"),
            (
                "subscribe plant/line1",
                2,
                "stops covering behind the last level of 'plant/line1': it asks for more levels",
            ),
            ("subscribe $share/g/plant/line2/x", 1, "stops covering at level 2 of '$share/g/plant/line2/x': 'line2'"),
            ("subscribe $queue/plant/line2/x", 1, "stops covering at level 2 of '$queue/plant/line2/x': 'line2'"),
            ("publish $delayed/5/dated/y", 1, "stops covering at level 2 of '$delayed/5/dated/y': 'y'"),
            ("publish plant/line1/x", None, "covers it, but grants the other action alone"),
            ("subscribe dated/x", None, "covers it, but grants the other action alone"),
        ],
    )
    def test_the_nearest_grant_and_what_it_lacks(
        self, exhook: Exhook, asked: str, level: int | None, explanation: str
    ) -> None:
        answer = told(exhook, *ALICE, *asked.split(" "))
        assert (answer["reason"], answer["rule"]) == ("no_match", None)
        nearest = answer["nearest"]
        assert nearest["why"] == ("action" if level is None else "level")
        assert (nearest["level"], nearest["explanation"]) == (level, explanation)
        assert nearest["rule"].keys() >= {"id", "source", "origin", "topic", "action", "effect"}

    def test_the_level_of_a_grant_with_placeholders(self, exhook: Exhook) -> None:
        answer = told(exhook, *SENSOR, "publish", "plant/GID_Sensors@@@0002/up")
        assert answer["nearest"]["explanation"] == (
            "stops covering at level 2 of 'plant/GID_Sensors@@@0002/up': 'GID_Sensors@@@0002'"
        )

    @pytest.mark.parametrize(
        ("cn", "reason"), [("x", "allowed"), ("", "unsafe_placeholder"), ("+", "unsafe_placeholder")]
    )
    def test_an_unsafe_placeholder(self, exhook: Exhook, cn: str, reason: str) -> None:
        assert told(exhook, *ALICE, "--cn", cn, "publish", "by/x/y")["reason"] == reason

    @pytest.mark.parametrize(
        ("action", "topic", "reason"),
        [("publish", "a/+", "invalid_topic"), ("subscribe", "a/#/b", "invalid_topic"),
         ("subscribe", "$share/+/x", "invalid_topic"), ("publish", "$exhook/x", "private_topic")],
    )  # fmt: skip
    def test_topics_that_nobody_has(self, exhook: Exhook, action: str, topic: str, reason: str) -> None:
        answer = told(exhook, *ALICE, action, topic)
        assert (answer["reason"], answer["nearest"]) == (reason, None)

    def test_a_rule_never_shows_a_secret(self, exhook: Exhook) -> None:
        rule = told(exhook, "--username", "guest", "--client-id", "c", "--at", "2031-01-01", "publish", "x")["rule"]
        assert rule["kind"] == "identity"
        assert "secrets" not in rule
        assert "right" not in json.dumps(rule)


@pytest.mark.usefixtures("filled")
class TestMoments:
    @pytest.mark.parametrize(
        ("at", "allowed"),
        [
            ("2029-12-31T23:59:59.999Z", True), ("2030-01-01T00:00:00Z", False), ("2030-01-01", False),
            ("2029-12-31", True), ("2030-01-01T00:59:59+01:00", True), ("2029-12-31T23:00:00-01:00", False),
            ("1970-01-01", True), ("9999-12-31", False),
        ],
    )  # fmt: skip
    def test_around_an_expiry(self, exhook: Exhook, at: str, allowed: bool) -> None:
        answer = told(exhook, *ALICE, "--at", at, "publish", "dated/x")
        assert answer["allow"] is allowed
        if not allowed:
            assert answer["nearest"]["why"] == "expired"
            assert answer["nearest"]["explanation"] == "covers it, but has expired"
        who = ("--username", "guest", "--client-id", "c", "--password-stdin", "--at", at)
        assert told(exhook, *who, "connect", stdin=b"right")["reason"] == ("allowed" if allowed else "expired")

    @pytest.mark.parametrize("at", ["tomorrow", "2030-13-01", "", "12:00"])
    def test_no_moment(self, exhook: Exhook, at: str) -> None:
        said = exhook("explain", *ALICE, "--at", at, "publish", "x")
        if at:
            assert (said.code, said.err) == (64, f"--at {at!r}: no moment; write 2027-01-31T12:00:00Z\n")
        else:
            assert said.code == 1


class TestFromFiles:
    """`--policy`: no store is there, none is made, and secrets need not be at hand."""

    @pytest.fixture(autouse=True)
    def _files(self, tmp_path: Path) -> None:
        (tmp_path / "policy.yaml").write_text(POLICY, encoding="utf-8")

    def test_topics_are_answered_without_any_secret(self, exhook: Exhook, tmp_path: Path) -> None:
        for who, action, topic, allowed in (
            (SENSOR, "publish", "plant/GID_Sensors@@@0001/up", True),
            (SENSOR, "publish", "plant/GID_Sensors@@@0002/up", False),
            (ALICE, "subscribe", "plant/line1/+", True),
        ):
            assert told(exhook, "--policy", "policy.yaml", *who, action, topic)["allow"] is allowed
        assert [file.name for file in tmp_path.iterdir()] == ["policy.yaml"]

    @pytest.mark.parametrize(
        ("who", "variable"),
        [(SENSOR, "EXHOOK_SECRET_SENSORS"), (("--username", "from-env", "--client-id", "c"), "EXHOOK_SECRET_PASSWORD")],
    )
    def test_a_password_whose_secret_is_missing_cannot_be_compared(
        self, exhook: Exhook, who: tuple[str, ...], variable: str
    ) -> None:
        said = exhook("explain", "--policy", "policy.yaml", *who, "--password-stdin", "connect", stdin=b"right")
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith("cannot say: the password could not be compared: policy.yaml:")
        assert f"the variable {variable} is not set" in said.err

    def test_with_the_secret_it_is_compared(self, exhook: Exhook) -> None:
        who = ("--policy", "policy.yaml", "--username", "from-env", "--client-id", "c", "--password-stdin")
        for password, code in ((b"right", 0), (b"wrong", 1)):
            assert exhook("explain", *who, "connect", stdin=password, **SECRETS).code == code

    def test_other_identities_do_not_suffer(self, exhook: Exhook) -> None:
        """A wrong password is wrong, whatever somebody else's secret may be."""
        for username, password, reason in (
            ("alice", b"right", "allowed"), ("alice", b"wrong", "wrong_password"), ("nobody", b"x", "unknown_identity"),
            ("hashed", b"wrong", "wrong_password"),
        ):  # fmt: skip
            who = ("--policy", "policy.yaml", "--username", username, "--client-id", "c", "--password-stdin")
            assert told(exhook, *who, "connect", stdin=password)["reason"] == reason

    def test_one_live_secret_of_two_is_enough_to_be_let_in(self, exhook: Exhook, tmp_path: Path) -> None:
        both = "sign_mode: origin, secrets: [{id: old, literal: right}, {id: new, env: EXHOOK_SECRET_NEW}]"
        (tmp_path / "policy.yaml").write_text(
            f"format: exhook/v1\ndefaults: {{instance: i}}\nidentities: [{{username: alice, {both}}}]\n"
        )
        who = ("--policy", "policy.yaml", *ALICE, "--password-stdin")
        assert told(exhook, *who, "connect", stdin=b"right")["secret_id"] == "old"
        assert exhook("explain", *who, "connect", stdin=b"wrong").code == 2

    def test_a_secret_that_is_in_the_store_alone(self, exhook: Exhook, tmp_path: Path) -> None:
        """What `exhook-sync export` writes can be asked about, too; only the password cannot be compared."""
        (tmp_path / "exported.yaml").write_text(
            "format: exhook/v1\ndefaults: {instance: i}\nidentities:\n"
            "  - {username: alice, sign_mode: origin, secret: {stored: true}}\n"
            "  - {username: hashed, sign_mode: hashed, secret: {stored: true}}\n"
            "permissions: [{username: alice, publish: [x]}]\n"
        )
        assert told(exhook, "--policy", "exported.yaml", *ALICE, "publish", "x")["allow"]
        assert not told(exhook, "--policy", "exported.yaml", *ALICE, "publish", "y")["allow"]
        for username in ("alice", "hashed"):
            who = ("--policy", "exported.yaml", "--username", username, "--client-id", "c", "--password-stdin")
            said = exhook("explain", *who, "connect", stdin=b"right")
            assert (said.code, said.out) == (2, "")
            assert "this secret is in the store alone" in said.err

    def test_the_store_beside_is_not_asked(self, exhook: Exhook, filled: Path, tmp_path: Path) -> None:
        (tmp_path / "other.yaml").write_text(
            "format: exhook/v1\ndefaults: {instance: i}\nsync: {environment: prod}\n"
            "identities: [{username: alice, sign_mode: external}]\npermissions: [{everyone: true, publish: [x]}]\n"
        )
        before = filled.read_bytes()
        answer = told(exhook, "--policy", "other.yaml", *ALICE, "publish", "x")
        assert answer["reason"] == "external_only"
        assert filled.read_bytes() == before

    def test_what_is_no_policy(self, exhook: Exhook, tmp_path: Path) -> None:
        (tmp_path / "bad.yaml").write_text("format: exhook/v1\ncolour: red\nidentities: 7\n")
        said = exhook("explain", "--policy", "bad.yaml", *ALICE, "publish", "x")
        assert (said.code, said.out) == (3, "")
        assert [line.split(" ")[0] for line in said.err.splitlines()] == ["bad.yaml:2:1:", "bad.yaml:3:13:"]
        said = exhook("explain", "--policy", "absent.yaml", *ALICE, "publish", "x")
        assert said.code == 3
        assert said.err.startswith("absent.yaml")

    def test_a_folder(self, exhook: Exhook, tmp_path: Path) -> None:
        folder = tmp_path / "policies"
        folder.mkdir()
        (folder / "a.yaml").write_text(POLICY)
        assert told(exhook, "--policy", "policies", *ALICE, "subscribe", "plant/line1/x")["rule"]["origin"].startswith(
            "policies/a.yaml:"
        )


class TestCannotSay:
    def test_no_store(self, exhook: Exhook, tmp_path: Path) -> None:
        for command in (["connect"], ["publish", "x"], ["subscribe", "x"]):
            said = exhook("explain", "--db", "absent.db", *ALICE, *command)
            assert (said.code, said.out) == (2, "")
            assert said.err.startswith("cannot say: absent.db: there is no store; ")
        assert list(tmp_path.iterdir()) == []

    def test_no_store_of_ours(self, exhook: Exhook, tmp_path: Path) -> None:
        (tmp_path / "exhook.db").write_bytes(b"no SQLite file at all, but long enough to be looked at" * 100)
        said = exhook("explain", *ALICE, "publish", "x")
        assert said.code == 2
        assert said.err.startswith("cannot say: exhook.db: is no store")

    @pytest.mark.usefixtures("filled")
    def test_no_such_listener(self, exhook: Exhook) -> None:
        said = exhook("explain", "--listener", "tls", *ALICE, "publish", "x")
        assert (said.code, said.out) == (2, "")
        assert said.err == ("cannot say: no listener is named 'tls'; the settings file names them in [[listeners]]\n")

    def test_a_seal_key_that_is_not_at_hand(self, exhook: Exhook, tmp_path: Path) -> None:
        key = new_key()
        fill(tmp_path, SealKeys.from_text(key, "test"))
        said = exhook("explain", *ALICE, "publish", "x")
        assert said.code == 2
        assert "which is not at hand; give the file that holds it by --seal-key-file" in said.err
        (tmp_path / "key").write_text(key)
        assert exhook("explain", "--seal-key-file", "key", *ALICE, "subscribe", "plant/line1/x").code == 0
        assert exhook("explain", *ALICE, "subscribe", "plant/line1/x", EXHOOK_SEAL_KEY=key).code == 0
        (tmp_path / "key").write_text("no key")
        assert exhook("explain", "--seal-key-file", "key", *ALICE, "publish", "x").code == 2


@pytest.mark.usefixtures("filled")
class TestListeners:
    @pytest.fixture(autouse=True)
    def _settings(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "exhook.toml").write_text(
            f'instance = "{INSTANCE}"\n[[listeners]]\nname = "tls"\nport = 8883\nexternal = true\n'
            '[[listeners]]\nname = "other"\ninstance = "mqtt-other"\n[[listeners]]\nname = "plain"\nemqx = false\n'
        )
        monkeypatch.setenv("EXHOOK_CONFIG", "exhook.toml")

    @pytest.mark.parametrize(
        ("listener", "reason"),
        [("default", "allowed"), ("tls", "external_only"), ("other", "wrong_instance"), ("plain", "allowed")],
    )
    def test_a_listener_by_its_name(self, exhook: Exhook, listener: str, reason: str) -> None:
        answer = told(exhook, "--config", "exhook.toml", *ALICE, "--listener", listener, "subscribe", "plant/line1/x")
        assert answer["reason"] == reason

    def test_levels_are_counted_as_its_broker_reads_them(self, exhook: Exhook) -> None:
        who = ("--config", "exhook.toml", *ALICE, "--listener", "plain")
        answer = told(exhook, *who, "subscribe", "$queue/plant")
        assert answer["nearest"]["explanation"] == "stops covering at level 1 of '$queue/plant': '$queue'"


class TestPlaces:
    def test_a_rule_shows_file_line_and_commit(self, exhook: Exhook, tmp_path: Path) -> None:
        (tmp_path / "policy.yaml").write_text(POLICY, encoding="utf-8")
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.net"]
        for command in (["init", "-q"], ["add", "policy.yaml"], ["commit", "-q", "-m", "policy"]):
            subprocess.run([*git, *command], cwd=tmp_path, check=True)
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()
        place = f"policy.yaml:{line_of('subscribe: [')}@{commit}"
        fill(tmp_path)
        for source in ((), ("--policy", "policy.yaml")):
            answer = told(exhook, *source, *ALICE, "subscribe", "plant/line1/x")
            assert answer["rule"]["origin"] == place
            assert answer["rule"]["source"] == "plant"
            assert place in exhook("explain", *source, *ALICE, "subscribe", "plant/line1/x").out

    def test_no_match_passed_on(self, exhook: Exhook, tmp_path: Path) -> None:
        (tmp_path / "policy.yaml").write_text(
            "format: exhook/v1\ninstances: {i: {no_match: pass}}\ndefaults: {instance: i}\n"
            "identities: [{username: alice, sign_mode: origin, secret: {literal: x}}]\n"
        )
        answer = told(exhook, "--policy", "policy.yaml", *ALICE, "publish", "x")
        assert (answer["allow"], answer["passed_on"], answer["reason"]) == (False, True, "no_match")
        said = exhook("explain", "--policy", "policy.yaml", *ALICE, "publish", "x")
        assert said.out.startswith("passed on to the broker's own chain: no_match")


class TestUsage:
    @pytest.mark.parametrize("command", [[], ["connect"], ["publish"], ["frobnicate"], ["publish", "a", "b"]])
    def test_what_cannot_be_read(self, exhook: Exhook, command: list[str]) -> None:
        for who in ((), ALICE):
            said = exhook("explain", *who, *command)
            if command == ["connect"] and who:
                assert said.code == 2  # no store
            else:
                assert (said.code, said.out) == (64, "")
                assert said.err.count("\n") == 1

    def test_the_client_has_to_be_named(self, exhook: Exhook) -> None:
        said = exhook("explain", "--username", "alice", "connect")
        assert (said.code, said.out) == (64, "")
        assert said.err.startswith("whom to explain? name the client by --client-id")


async def test_it_says_what_the_server_does(
    exhook: Exhook, serve: Serve, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same store, asked both ways."""
    folder = tmp_path / "plant"
    folder.mkdir()
    monkeypatch.chdir(folder)
    fill(folder)
    store.path = folder / "exhook.db"
    async with serve() as served:
        for username, client_id in (("alice", "c"), ("sensors", "GID_Sensors@@@0001"), ("nobody", "c")):
            who = ("--username", username, "--client-id", client_id)
            for password in (b"right", b"wrong"):
                code = exhook("explain", *who, "--password-stdin", "connect", stdin=password).code
                assert await served.authenticate(client_id, username, password) is (code == 0)
            for action in ("publish", "subscribe"):
                for topic in ("plant/line1/x", "plant/line1/#", "plant/GID_Sensors@@@0001/up", "dated/x", "#"):
                    code = exhook("explain", *who, action, topic).code
                    assert await served.authorize(client_id, username, action.upper(), topic) is (code == 0)

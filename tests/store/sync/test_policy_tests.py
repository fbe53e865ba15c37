"""Policy tests: what they find, what they cannot be fooled by, and what the command makes of it."""

import json
from collections import Counter
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree as ET

import pytest
from policy_files_under_test import CANARY, FIXTURES, write
from stores_under_test import Store
from sync_commands_under_test import run, workplace

from store.decision import Decision, Reason, authorize
from store.reader import Reader
from store.records import Action
from store.sync.case_entry import ReasonWord
from store.sync.document import load_policy
from store.sync.policy_tests import Check, Outcome, Status, run_tests
from store.sync.policy_tests_report import junit
from store.sync.rehearsal import rehearsal
from store.sync.stand_ins import without_secrets
from store.view import Client, Listener

NOW = 1_800_000_000_000  # 2027-01-15T08:00:00Z

POLICY = """
identities:
  - {id: reader, username: reader, client_id: r-1, sign_mode: origin, secret: {env: EXHOOK_SECRET_NOT_SET}}
  - {id: shared, username: shared, sign_mode: hashed, secret: {env: EXHOOK_SECRET_NOT_SET}}
permissions:
  - {id: reads, username: reader, subscribe: ["a/#"], deny: {subscribe: [a/secret]}}
  - {id: reads-too, client_id: r-1, subscribe: ["a/b"]}
  - {id: until, username: shared, publish: [late], expires: 2027-06-01T12:00:00Z}
  - {username: shared, publish: [unnamed]}
blacklist: [{id: out, client_id: stolen}]
fixtures:
  clients:
    reader: {username: reader, client_id: r-1}
    shared: {username: shared, client_id: s}
    thief: {username: shared, client_id: stolen}
tests:
"""


def outcomes(folder: Path, tests: str, policy: str = POLICY) -> list[Outcome]:
    return list(run_tests(load_policy([write(folder / "p", one=policy + tests)]), NOW))


def checks(folder: Path, said: str, policy: str = POLICY) -> list[Check]:
    (outcome,) = outcomes(folder, f"  - {{name: t, {said}}}\n", policy)
    return list(outcome.checks)


@pytest.mark.parametrize(
    ("name", "counts"),
    [("tests", [9, 16, 2, 5, 1, 1, 18]), ("tests-account-modes", [7, 1, 1, 3, 5, 4, 1, 3, 1, 1])],
)
def test_a_whole_policy_passes(name: str, counts: list[int]) -> None:
    path = FIXTURES / f"{name}.yaml"
    found = run_tests(load_policy([path]), NOW)
    assert [str(check.complaint) for outcome in found for check in outcome.wrong] == []
    assert [len(outcome.checks) for outcome in found] == counts


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("as: reader, can: {connect: true}", ""),
        ("as: reader, cannot: {connect: true}", "reader may connect, and should not"),
        ("as: thief, cannot: {connect: true}", ""),
        ("as: thief, can: {connect: true}", "thief may not connect (blacklisted), and should"),
        ("as: thief, cannot: {connect: {reason: blacklisted, rule: out}}", ""),
        (
            "as: thief, cannot: {connect: {reason: unknown_identity}}",
            "thief may not connect: blacklisted, where unknown_identity is expected",
        ),
        (
            "as: {username: nobody, client_id: x}, cannot: {connect: {rule: out}}",
            "x may not connect: no rule decides (unknown_identity), where out is expected",
        ),
        (
            "as: reader, can: {connect: {rule: shared}}",
            "reader may connect: reader decides, where shared is expected",
        ),
        ("as: reader, can: {subscribe: [a/c]}", ""),
        ("as: reader, can: {subscribe: [{topic: a/c, rule: reads}]}", ""),
        (
            "as: reader, can: {subscribe: [{topic: a/c, rule: reads-too}]}",
            "reader may subscribe to 'a/c': reads decides, where reads-too is expected",
        ),
        ("as: reader, cannot: {subscribe: [a/c]}", "reader may subscribe to 'a/c', and should not"),
        ("as: reader, can: {publish: [a/c]}", "reader may not publish to 'a/c' (no_match), and should"),
        ('as: reader, cannot: {subscribe: [{filter: "a/#", rule: reads, reason: denied}]}', ""),
        (
            'as: reader, cannot: {subscribe: [{filter: "a/#", reason: no_match}]}',
            "reader may not subscribe to 'a/#': denied, where no_match is expected",
        ),
        ("as: shared, can: {publish: [{topic: unnamed, rule: shared}]}", ""),
    ],
)
def test_expectations(tmp_path: Path, said: str, complaint: str) -> None:
    (check,) = checks(tmp_path, said)
    assert (check.complaint, check.status) == (complaint, Status.FAILED if complaint else Status.PASSED)


class TestWhatSaysNothing:
    """A refusal that would be there without any policy is no proof that the policy refuses."""

    @pytest.mark.parametrize(
        "client", ["thief", "{username: nobody, client_id: x}", "{username: reader, client_id: y}"]
    )
    def test_a_client_that_cannot_connect(self, tmp_path: Path, client: str) -> None:
        for side in ("cannot", "can"):
            (check,) = checks(tmp_path, f"as: {client}, {side}: {{publish: [secret]}}")
            assert check.status is Status.ERROR
            assert "cannot even connect" in check.complaint
            assert not check.decision.allow

    def test_not_even_beside_the_word_that_it_cannot(self, tmp_path: Path) -> None:
        found = checks(tmp_path, "as: thief, cannot: {connect: true, publish: [secret]}")
        assert [check.status for check in found] == [Status.PASSED, Status.ERROR]

    def test_a_client_whose_secrets_are_over(self, tmp_path: Path) -> None:
        """It could go on publishing as long as it stays connected, but nobody gets in as it any more."""
        policy = POLICY.replace(
            "origin, secret: {env: EXHOOK_SECRET_NOT_SET}", "origin, secret: {env: X, expires: 2027-01-01}"
        )
        (check,) = checks(tmp_path, "as: reader, can: {subscribe: [a/b]}", policy)
        assert (check.status, check.decision.reason) == (Status.ERROR, Reason.EXPIRED)
        (check,) = checks(tmp_path, "as: reader, at: 2026-12-31, can: {subscribe: [a/b]}", policy)
        assert check.status is Status.PASSED

    def test_in_a_matrix(self, tmp_path: Path) -> None:
        found = checks(tmp_path, "matrix: {requests: {x: {publish: [secret]}}, allowed: {thief: []}}")
        assert [check.status for check in found] == [Status.FAILED, Status.ERROR]

    @pytest.mark.parametrize("said", ["publish: [a/+]", "both: ['$share/a']", "subscribe: ['a#']"])
    def test_a_topic_that_is_none(self, tmp_path: Path, said: str) -> None:
        found = checks(tmp_path, f"as: reader, cannot: {{{said}}}")
        assert found[0].status is Status.ERROR
        assert "not legal" in found[0].complaint

    def test_unless_that_is_what_is_meant(self, tmp_path: Path) -> None:
        (check,) = checks(tmp_path, "as: reader, cannot: {publish: [{topic: a/+, reason: invalid_topic}]}")
        assert check.status is Status.PASSED

    def test_what_is_passed_on_is_neither_granted_nor_refused(self, tmp_path: Path) -> None:
        policy = f"instances: {{mqtt-default: {{no_match: pass}}}}{POLICY}"
        for side in ("can", "cannot"):
            (check,) = checks(tmp_path, f"as: reader, {side}: {{publish: [b]}}", policy)
            assert check.status is Status.FAILED
            assert "passed on" in check.complaint
        (check,) = checks(tmp_path, "as: reader, cannot: {publish: [{topic: b, reason: no_match}]}", policy)
        assert check.status is Status.PASSED


class TestMatrix:
    SAID = (
        'matrix: {requests: {own: {subscribe: [a/b, a/c]}, wide: {subscribe: ["a/#"]}, late: {publish: [late]}},'
        " allowed: {reader: [own], shared: [late]}}"
    )

    def test_each_client_and_each_request(self, tmp_path: Path) -> None:
        found = checks(tmp_path, self.SAID)
        assert [check.status for check in found] == [Status.PASSED] * 10
        asked = [(one.asker.name, one.topic, one.allow) for check in found if (one := check.expectation).action]
        assert asked == [
            ("reader", "a/b", True), ("reader", "a/c", True), ("reader", "a/#", False), ("reader", "late", False),
            ("shared", "a/b", False), ("shared", "a/c", False), ("shared", "a/#", False), ("shared", "late", True),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("written", "instead", "wrong"),
        [
            ("reader: [own]", "reader: []", ["a/b", "a/c"]),
            ("reader: [own]", "reader: [own, wide]", ["a/#"]),
            ("shared: [late]", "shared: []", ["late"]),
        ],
    )
    def test_one_cell_is_wrong(self, tmp_path: Path, written: str, instead: str, wrong: list[str]) -> None:
        found = checks(tmp_path, self.SAID.replace(written, instead))
        assert [check.expectation.topic for check in found if check.status is Status.FAILED] == wrong


class TestClock:
    @pytest.mark.parametrize(
        ("at", "passes"),
        [("2027-06-01T11:59:59.999Z", True), ("2027-06-01T12:00:00Z", False), ("2027-06-01T14:00:00+02:00", False)],
    )
    def test_the_moment_of_expiry_itself_is_over(self, tmp_path: Path, at: str, passes: bool) -> None:
        (check,) = checks(tmp_path, f"as: shared, at: {at}, can: {{publish: [late]}}")
        assert (check.status is Status.PASSED) is passes

    def test_left_out_it_is_now(self, tmp_path: Path) -> None:
        policy = load_policy(
            [write(tmp_path / "p", one=f"{POLICY}  - {{name: t, as: shared, can: {{publish: [late]}}}}\n")]
        )
        end = 1_811_851_200_000  # 2027-06-01T12:00:00Z
        for now_ms, status in ((end - 1, Status.PASSED), (end, Status.FAILED)):
            (outcome,) = run_tests(policy, now_ms)
            assert outcome.status is status


def test_tests_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    policy, tests = POLICY.split("fixtures:")
    folder = write(
        tmp_path / "p", access=policy, checks=f"fixtures:{tests}  - {{name: t, as: reader, can: {{connect: true}}}}\n"
    )
    (outcome,) = run_tests(load_policy([folder]), NOW)
    assert (outcome.status, outcome.case.file) == (Status.PASSED, str(folder / "checks.yaml"))


def test_a_fixture_is_given_once_in_the_policy(tmp_path: Path) -> None:
    write(tmp_path, a="fixtures: {clients: {x: {client_id: a}}}\n", b="fixtures: {clients: {x: {client_id: b}}}\n")
    said = run("validate", str(tmp_path))
    assert (said.exit_code, f"{tmp_path}/b.yaml:2:22: the client 'x' is given already" in said.output) == (3, True)


def test_records_of_many_others_are_left_out(tmp_path: Path) -> None:
    rows = "".join(f'{{"username": "u{n}", "sign_mode": "hashed", "secret": {{"env": "X"}}}}\n' for n in range(3000))
    (tmp_path / "rows.jsonl").write_text(rows)
    text = (
        "instances: {mqtt-default: {record_quota: 1}}\ninclude: [{identities: rows.jsonl}]\n"
        "permissions: [{username: u7, publish: [a]}, {username: u8, publish: [b]}]\n"
        "tests: [{name: t, as: {username: u7, client_id: c}, can: {publish: [a]}, cannot: {publish: [b]}}]\n"
    )
    (outcome,) = run_tests(load_policy([write(tmp_path, one=text)]), NOW)
    assert outcome.status is Status.PASSED


def test_reasons_are_those_that_the_core_gives() -> None:
    not_by_files = {"allowed", "wrong_password", "overloaded", "store_unavailable", "internal_error"}
    # Tokens are issued, never written in a file.
    not_by_files |= {f"{kind}_token" for kind in ("forged", "expired", "revoked", "foreign")}
    not_by_files.add("wrong_token_type")
    assert {str(reason) for reason in Reason} - set(get_args(ReasonWord)) == not_by_files
    assert set(get_args(ReasonWord)) <= set(Reason)


class TestCommand:
    """`exhook-sync test` itself; no variable is set that the policy names."""

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        workplace(tmp_path, monkeypatch)

    @staticmethod
    def policy(*tests: str) -> None:
        Path("policy.yaml").write_text(f"format: exhook/v1{POLICY}" + "".join(f"  - {{{one}}}\n" for one in tests))

    GOOD = "name: good, as: reader, can: {connect: true}"
    BAD = 'name: bad, as: reader, can: {subscribe: ["a/#"], publish: [b]}'
    VOID = "name: void, as: thief, cannot: {publish: [b]}"

    def test_all_pass(self) -> None:
        self.policy(self.GOOD)
        said = run("test", "policy.yaml")
        assert said.exit_code == 0
        assert said.output == "ok      good  (1 check)\n1 test: 1 passed, 0 failed\n"
        quiet = run("test", "policy.yaml", "-q")
        assert (quiet.exit_code, quiet.output) == (0, "")
        assert sorted(path.name for path in Path().iterdir()) == ["policy.yaml"]

    def test_one_fails_and_one_says_nothing(self) -> None:
        self.policy(self.GOOD, self.BAD, self.VOID)
        said = run("test", "policy.yaml")
        assert said.exit_code == 6
        assert said.output.splitlines() == [
            "ok      good  (1 check)",
            "FAILED  bad  (2 checks)",
            "        policy.yaml:18: reader may not publish to 'b' (no_match), and should",
            "        policy.yaml:18: reader may not subscribe to 'a/#' (denied), and should",
            "          rule:    permission reads: DENY SUB 'a/secret' for USER reader [policy, policy.yaml:6]",
            "ERROR   void  (1 check)",
            (
                "        policy.yaml:19: thief cannot even connect (blacklisted), so what it may do says nothing; "
                "mend the client, or write `cannot: {connect: true}` alone"
            ),
            "          rule:    blacklist out: mqtt-default stolen policy [policy, policy.yaml:10]",
            "3 tests: 1 passed, 1 failed, 1 error",
        ]
        assert "good" not in run("test", "policy.yaml", "--quiet").output

    def test_the_nearest_grant_is_shown(self) -> None:
        self.policy("name: near, as: shared, can: {publish: [unnamed/b]}")
        output = run("test", "policy.yaml").output
        assert "nearest: permission ALLOW PUB 'unnamed' for USER shared [policy, policy.yaml:9]" in output
        assert "stops covering at level 2 of 'unnamed/b': 'b'" in output

    def test_json(self) -> None:
        self.policy(self.GOOD, self.BAD, self.VOID)
        done = run("test", "policy.yaml", "--json")
        said: dict[str, Any] = json.loads(done.output)
        assert done.exit_code == 6
        assert {key: said[key] for key in ("ok", "passed", "failed", "errors")} == {
            "ok": False, "passed": 1, "failed": 1, "errors": 1,
        }  # fmt: skip
        assert [one["status"] for one in said["tests"]] == ["passed", "failed", "error"]
        published, subscribed = said["tests"][1]["wrong"]
        assert published["decided"]["reason"] == "no_match"
        assert subscribed["decided"]["rule"]["id"] == "reads"
        assert subscribed["decided"]["rule"]["origin"] == "policy.yaml:6"
        assert (subscribed["request"], subscribed["line"]) == ("subscribe to 'a/#'", 18)

    def test_junit(self) -> None:
        self.policy(self.GOOD, self.BAD, self.VOID)
        Path("report.xml").write_text("what was there before")
        assert run("test", "policy.yaml", "-q", "--junit", "report.xml").exit_code == 6
        root = ET.parse("report.xml").getroot()  # noqa: S314 - written by ourselves a line above
        assert (root.tag, root.attrib["tests"], root.attrib["failures"], root.attrib["errors"]) == (
            "testsuites", "3", "1", "1",
        )  # fmt: skip
        (suite,) = root
        assert (suite.tag, suite.attrib["name"], suite.attrib["tests"]) == ("testsuite", "policy.yaml", "3")
        assert [(case.attrib["name"], case.attrib["line"], [one.tag for one in case]) for case in suite] == [
            ("good", "17", []), ("bad", "18", ["failure"]), ("void", "19", ["error"]),
        ]  # fmt: skip
        failure = suite[1][0]
        assert failure.attrib["message"] == "reader may not publish to 'b' (no_match), and should (and 1 more)"
        assert "permission reads: DENY SUB 'a/secret'" in (failure.text or "")
        assert sorted(path.name for path in Path().iterdir()) == ["policy.yaml", "report.xml"]

    def test_junit_of_names_that_no_xml_could_hold(self) -> None:
        self.policy('name: "a <b> & \\"c\\"\\n\\ufffe]]>", as: reader, can: {publish: ["\\uffff<\\x1b"]}')
        root = ET.fromstring(junit(run_tests(load_policy([Path("policy.yaml")]), NOW)))  # noqa: S314 - our own
        assert root[0][0].attrib["name"] == 'a <b> & "c"\\n\\ufffe]]>'

    def test_a_report_that_cannot_be_written(self) -> None:
        self.policy(self.GOOD)
        said = run("test", "policy.yaml", "--junit", "no/such/report.xml")
        assert said.exit_code == 64
        assert "no/such/report.xml: cannot be written" in said.output

    def test_an_invalid_policy_runs_no_test_and_writes_no_report(self) -> None:
        self.policy("name: t, as: nobody, can: {connect: true}")
        said = run("test", "policy.yaml", "--junit", "report.xml")
        assert said.exit_code == 3
        assert "policy.yaml:17:19: there is no client 'nobody'; add it to `fixtures.clients`" in said.output
        assert not Path("report.xml").exists()

    def test_no_tests_at_all_are_told_of(self) -> None:
        Path("policy.yaml").write_text("format: exhook/v1\n")
        said = run("test", "policy.yaml", "-q")
        assert said.exit_code == 0
        assert said.output.startswith("policy.yaml: there are no tests here; ")

    def test_plan_and_apply_take_no_notice(self) -> None:
        self.policy(self.BAD)
        assert run("plan", "policy.yaml", "--no-secrets").exit_code == 2

    def test_no_secret_is_told_and_none_is_needed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EXHOOK_SECRET_NOT_SET", f"{CANARY}-in-the-environment")
        self.policy(self.BAD, self.VOID)
        file = Path("policy.yaml")
        file.write_text(
            file.read_text().replace("secret: {env: EXHOOK_SECRET_NOT_SET}", f"secret: {{literal: {CANARY}}}")
        )
        for flags in ((), ("--json",), ("-q",)):
            said = run("test", "policy.yaml", "--junit", "report.xml", *flags)
            assert said.exit_code == 6
            assert CANARY not in said.output + Path("report.xml").read_text()


def test_a_rehearsal_decides_as_the_store_would(tmp_path: Path) -> None:
    """Every request of some clients, asked of a store that the policy was applied to, and of the rehearsal."""
    store = Store(tmp_path)
    store.environ = {"EXHOOK_SECRET_SENSORS": "a", "EXHOOK_SECRET_DASH": "b"}
    text = (FIXTURES / "tests.yaml").read_text().replace("{stored: true}", "{env: EXHOOK_SECRET_DASH}")
    applied = store.apply(text)
    who = [(user, own) for user in ("sensors", "dashboard", "visitor", "nobody", "") for own in CLIENT_IDS]
    with rehearsal(applied.policy, who, without_secrets) as ours, closing(Reader(store.path, store.keys)) as theirs:
        decided = Counter[str]()
        for (user, own), at_ms in product(who, (NOW, NOW - 365 * 86_400_000)):
            client = Client(user, own, Listener("default", "mqtt-prod"))
            one, other = (reader.view("mqtt-prod", client) for reader in (ours, theirs))
            for action, topic in product((Action.PUB, Action.SUB), TOPICS):
                asked, meant = (authorize(view, client, action, topic, at_ms) for view in (one, other))
                assert _said(asked) == _said(meant), (client, action, topic)
                decided[asked.reason] += 1
    assert decided.keys() >= {"allowed", "denied", "no_match", "blacklisted", "unknown_identity", "client_id_owned"}


CLIENT_IDS = ("GID_Sensors@@@0001", "GID_Sensors@@@0007", "dash-01", "other")
TOPICS = ("plant-a/0001/up", "plant-a/GID_Sensors@@@0001/down/x", "plant-a/#", "plant-a/secret", "offers", "#")


def _said(decision: Decision) -> tuple[Any, ...]:
    return decision.allow, decision.reason, decision.rule and (decision.rule.key, decision.rule.origin)

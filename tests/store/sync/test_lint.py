"""Lint: each rule finds what it names, and nothing where there is nothing."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from policy_files_under_test import error_of
from sync_commands_under_test import run

from store.records import Permission
from store.sync import lint as lint_module
from store.sync.document import load_policy
from store.sync.lint import SOON_MS, LintFinding, lint
from store.sync.lint_off import RULES
from store.sync.lint_report import FORMS

NOW = 1_800_000_000_000  # 2027-01-15T08:00:00Z

CLEAN = """
format: exhook/v1
groups: [GID_Sensors]
identities:
  - {id: s, username: sensors, sign_mode: signed, secret: {env: EXHOOK_SECRET_S}, client_ids: {group: GID_Sensors}}
  - {id: d, username: dash, client_id: dash-01, sign_mode: origin, secret: {env: EXHOOK_SECRET_D}}
permissions:
  - {id: own, username: sensors, publish: ["a/${clientid}/up"], subscribe: ["a/${clientid}/down/#"]}
  - {id: group, group: GID_Sensors, subscribe: ["g/#"]}
  - {id: read, client_id: dash-01, subscribe: ["a/+/up"]}
"""


def findings(tmp_path: Path, text: str) -> list[LintFinding]:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    return lint(load_policy([file]), NOW)


def rules(tmp_path: Path, text: str) -> list[tuple[str, str]]:
    return [(one.rule, one.record) for one in findings(tmp_path, text)]


def test_a_clean_policy_has_no_findings(tmp_path: Path) -> None:
    assert findings(tmp_path, CLEAN) == []


GRANT = """
format: exhook/v1
groups: [GID_Xyz]
identities:
  - {id: u, username: u, client_ids: {prefix: "u-"}, sign_mode: origin, secret: {env: EXHOOK_SECRET_U}}
permissions:
"""


def user(name: str, said: str) -> str:
    """A permission block of user u."""
    return f"  - {{id: {name}, username: u, {said}}}\n"


def everyone(name: str, topic: str) -> str:
    """What everyone is denied."""
    return f'  - {{id: {name}, everyone: true, deny: {{both: ["{topic}"]}}}}\n'


WIDE = user("wide", 'publish: ["a/#"]')


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        (WIDE + user("narrow", 'publish: ["a/b"]'), [("shadowed", "narrow")]),
        (user("wide", 'both: ["a/#"]') + user("narrow", 'publish: ["a/+"]'), [("shadowed", "narrow")]),
        (WIDE + user("narrow", 'subscribe: ["a/b"]'), []),
        (user("wide", 'publish: ["a/#"], expires: 2028-01-01') + user("narrow", 'publish: ["a/b"]'), []),
        (user("one", 'publish: ["a/${clientid}"]') + user("two", 'publish: ["a/b"]'), []),
        (user("one", 'publish: ["a/${clientid}"]') + user("two", 'publish: ["a/${username}"]'), []),
        (user("one", 'publish: ["a/+"]') + user("two", 'publish: ["a/${clientid}"]'), [("shadowed", "two")]),
        (user("own", 'both: ["${clientid}/#"]'), []),
        (user("all", 'publish: ["a/#"]') + user("no", 'deny: {publish: ["a/x"]}'), []),
        (user("all", 'subscribe: ["a/#"]') + user("no", 'deny: {both: ["+/x"]}'), [("deny-blocks-grant", "no")]),
        (user("yes", 'publish: ["a/b"]') + everyone("no", "a/#"), [("unreachable", "yes")]),
        (user("all", 'subscribe: ["a/#"]') + everyone("no", "+/x"), [("deny-blocks-grant", "no")]),
        (
            user("all", 'subscribe: ["a/#"]') + user("on", 'subscribe: ["b/#"]') + everyone("no", "+/x"),
            [("deny-blocks-grant", "no")],
        ),
        (user("all", 'subscribe: ["a/#"]') + everyone("no", "b/x"), []),
        (user("no", 'deny: {both: ["a/#"]}') + user("yes", 'publish: ["a/b"]'), [("unreachable", "yes")]),
        (
            user("all", 'subscribe: ["a/#"]') + user("no", 'deny: {subscribe: ["a/x"]}'),
            [("deny-blocks-grant", "no")],
        ),
        (user("all", 'publish: ["#"]'), [("everything", "all")]),
        (user("all", 'publish: ["+/#"]'), [("everything", "all")]),
        (user("no", 'deny: {publish: ["#"]}'), [("no-permissions", "u")]),
        ('  - {id: c, client_id: u-1, publish: ["a"]}\n', [("claimable", "c")]),
        ('  - {id: c, client_id: other, publish: ["a"]}\n' + user("own", 'publish: ["b"]'), []),
        ('  - {id: g, group: GID_Xyz, publish: ["a"]}\n', []),
        (user("old", 'publish: ["a"], expires: 2026-01-01'), [("expired", "old")]),
        (user("soon", 'publish: ["a"], expires: 2027-02-01'), [("expires-soon", "soon")]),
        (user("late", 'publish: ["a"], expires: 2027-03-01'), []),
    ],
)
def test_each_rule_finds_what_it_names(tmp_path: Path, blocks: str, expected: list[tuple[str, str]]) -> None:
    assert rules(tmp_path, GRANT + blocks) == expected


def test_a_group_that_an_unbounded_user_could_join(tmp_path: Path) -> None:
    text = CLEAN + '  - {id: x, username: anyone, publish: ["x"]}\n'
    text = text.replace(
        "identities:\n", "identities:\n  - {username: anyone, sign_mode: origin, secret: {env: EXHOOK_SECRET_A}}\n"
    )
    assert rules(tmp_path, text) == [("claimable", "group")]


def test_the_moment_of_expiry_itself_is_over(tmp_path: Path) -> None:
    text = CLEAN.replace("{id: read,", "{id: read, expires: 2027-01-15T08:00:00Z,")
    assert rules(tmp_path, text) == [("expired", "read")]
    assert SOON_MS == 30 * 86_400_000


@pytest.mark.parametrize(
    ("secrets", "expected"),
    [
        ("{id: a, env: EXHOOK_SECRET_A, expires: 2027-01-15}", ["expired"]),
        ("{id: a, env: EXHOOK_SECRET_A, expires: 2027-02-01}", ["expires-soon"]),
        ("{id: a, env: EXHOOK_SECRET_A, expires: 2027-03-01}", []),
        ("{id: a, env: EXHOOK_SECRET_A, expires: 2027-02-01}, {id: b, env: EXHOOK_SECRET_B}", []),
        ("{id: a, env: EXHOOK_SECRET_A, expires: 2027-01-15}, {id: b, env: EXHOOK_SECRET_B}", ["expired"]),
        (
            "{id: a, env: EXHOOK_SECRET_A, expires: 2027-02-01}, {id: b, env: EXHOOK_SECRET_B, expires: 2027-02-02}",
            ["expires-soon"],
        ),
    ],
)
def test_secrets_expire_too(tmp_path: Path, secrets: str, expected: list[str]) -> None:
    text = CLEAN.replace("secret: {env: EXHOOK_SECRET_D}", f"secrets: [{secrets}]")
    assert rules(tmp_path, text) == [(rule, "d") for rule in expected]


def test_a_grantee_of_too_many_permissions_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint_module, "MOST_COMPARED", 2)
    text = GRANT + WIDE + user("two", 'publish: ["a/b"]') + user("three", 'publish: ["c"]')
    assert rules(tmp_path, text) == [("not-compared", "wide")]


def test_places_are_the_lines_of_the_records(tmp_path: Path) -> None:
    (finding,) = findings(tmp_path, GRANT + '  - id: all\n    username: u\n    publish:\n      - "#"\n')
    assert (finding.file, finding.line) == (str(tmp_path / "policy.yaml"), GRANT.count("\n") + 4)


def off(*lines: str) -> str:
    return "lint:\n" + "".join(f"  - {{{line}, reason: it is meant}}\n" for line in lines)


def test_a_rule_can_be_turned_off_for_one_record_or_all(tmp_path: Path) -> None:
    text = GRANT + user("one", 'publish: ["#"]') + user("two", 'subscribe: ["+/#"]')
    assert rules(tmp_path, text + off("off: everything, record: one")) == [("everything", "two")]
    assert rules(tmp_path, text + off("off: everything")) == []


def test_turning_off_what_finds_nothing_is_a_finding(tmp_path: Path) -> None:
    (finding,) = findings(tmp_path, CLEAN + off("off: everything, record: read"))
    assert (finding.rule, finding.record, finding.line) == ("unused-off", "read", CLEAN.count("\n") + 2)
    assert rules(tmp_path, CLEAN + off("off: everything", "off: unused-off")) == []
    assert rules(tmp_path, CLEAN + off("off: unused-off")) == [("unused-off", "")]


def test_off_stands_in_any_file_of_the_policy(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GRANT + user("one", 'publish: ["#"]'))
    (tmp_path / "b.yaml").write_text("format: exhook/v1\n" + off("off: everything, record: one"))
    assert lint(load_policy([tmp_path]), NOW) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{off: everythin, reason: r}", "3:9: there is no lint rule 'everythin'; did you mean 'everything'?"),
        ("{off: zzz, reason: r}", "3:9: there is no lint rule 'zzz'; there are shadowed, "),
        ("{off: everything}", "3:3: `reason` is missing; write {off: everything, "),
        ('{off: everything, reason: ""}', "3:29: an empty text"),
        ("{off: everything, reason: r, why: x}", "3:32: unknown key `why`"),
        ("everything", "3:3: a mapping is wanted"),
    ],
)
def test_what_is_wrong_with_turning_off(tmp_path: Path, line: str, message: str) -> None:
    assert error_of(tmp_path / "p", f"lint:\n- {line}\n").startswith(message)


WARNED = """
format: exhook/v1
vars: {x: "${var.y}", y: a}
roles: {idle: {publish: [a]}}
include: [{identities: rows.csv, columns: {username: user}, defaults: {sign_mode: external}}]
identities:
  - {id: lit, username: lit, sign_mode: origin, secret: {literal: hush}}
  - {id: home, username: lit, client_id: c, sign_mode: origin, secret: {env: HOME}}
permissions:
  - {id: lit-own, username: lit, publish: [a]}
  - {id: other, username: LIT, publish: [a]}
  - {id: of-group, group: GID_Nowhere, deny: {publish: [a]}}
  - {everyone: true, publish: [b]}
  - {instance: listed, everyone: true, publish: [b]}
instances: {listed: {parent_topics: [a]}}
"""


def test_what_validation_warns_of_is_a_finding_and_can_be_turned_off(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("user,client_id\nrow,1\n")
    found = rules(tmp_path, WARNED)
    assert set(found) == {
        ("var-in-var", "x"), ("unused-var", "x"), ("unused-var", "y"), ("unused-role", "idle"), ("unread-column", ""),
        ("literal-secret", "lit"), ("env-prefix", "home"), ("confusable", "other"), ("unregistered-group", "of-group"),
        ("unregistered-parent-topic", "everyone"),
    }  # fmt: skip
    warned = load_policy([tmp_path / "policy.yaml"]).warnings
    assert {(one.rule, one.record) for one in warned} == set(found)
    lines = [f"off: {rule}" + (f", record: {record}" if record else "") for rule, record in found]
    assert rules(tmp_path, WARNED + off(*lines)) == []
    assert load_policy([tmp_path / "policy.yaml"]).warnings == ()


def test_one_literal_secret_turned_off_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        "".join(
            f'{{"id": "{name}", "username": "{name}", "sign_mode": "origin", "secret": {{"literal": "x"}}}}\n'
            for name in ("a", "b", "c")
        )
    )
    text = "format: exhook/v1\ninclude: [{identities: rows.jsonl}]\npermissions: [{everyone: true, publish: [a]}]\n"
    assert ("literal-secret", "c") in rules(tmp_path, text + off("off: literal-secret, record: a"))
    assert rules(tmp_path, text + off("off: literal-secret")) == []


def test_whoever_has_expired_claims_nothing(tmp_path: Path) -> None:
    """While an expired identity of a client still owns its client id."""
    text = (
        "format: exhook/v1\n"
        "identities:\n"
        "  - {id: a, username: a, sign_mode: external, expires: 2020-01-01}\n"
        "  - {id: b, username: b, sign_mode: external}\n"
        "permissions:\n"
        "  - {id: p, client_id: c, publish: [x]}\n"
    )
    [claim] = [one for one in findings(tmp_path, text) if one.rule == "claimable"]
    assert "whoever holds b can connect" in claim.message
    assert "claimable" not in {
        rule
        for rule, _ in rules(
            tmp_path, text.replace("b, sign_mode: external", "b, sign_mode: external, expires: 2020-01-01")
        )
    }


def test_what_validation_warns_of_has_its_column(tmp_path: Path) -> None:
    (path := tmp_path / "policy.yaml").write_text(
        "format: exhook/v1\n"
        "identities: [{id: a, username: a, sign_mode: origin, secret: {literal: x}}]\n"
        "permissions: [{username: a, publish: [a]}]\n"
    )
    [one] = lint(load_policy([path]), NOW)
    assert (str(one).startswith(f"{path}:2:63: literal-secret: "), one.column) == (True, 63)
    assert ",line=2,col=63,title=literal-secret::" in FORMS["github"]([one])
    [result] = json.loads(FORMS["sarif"]([one]))["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": 2, "startColumn": 63}


def test_every_rule_is_tried_here() -> None:
    text = Path(__file__).read_text()
    assert [rule for rule in RULES if f'"{rule}"' not in text] == []


class TestReports:
    """Every form holds every finding, in the shape that its reader asks for."""

    @pytest.fixture
    def found(self, tmp_path: Path) -> list[LintFinding]:
        text = GRANT + '  - {id: "a,b:c%", username: u, publish: ["#", "+/#"], note: "x"}\n'
        (tmp_path / "ä b%").mkdir()
        return findings(tmp_path / "ä b%", text)

    def test_text(self, found: list[LintFinding]) -> None:
        assert FORMS["text"](found).splitlines() == [str(one) for one in found]
        assert len(found) == 3  # two grants of everything, one in the other

    def test_github(self, found: list[LintFinding]) -> None:
        file = found[0].file.replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
        for one, line in zip(found, FORMS["github"](found).splitlines(), strict=True):
            head = f"::warning file={file},line={one.line},title={one.rule}::"
            assert line == head + one.message.replace("%", "%25")

    def test_github_takes_no_command_from_a_finding(self) -> None:
        line = FORMS["github"]([LintFinding("a,b:c\n::error::x", 1, "everything", "", "1%\r\n::error::x")])
        expected = "::warning file=a%2Cb%3Ac\\n%3A%3Aerror%3A%3Ax,line=1,title=everything::1%25\\r\\n::error::x\n"
        assert line == expected

    def test_gitlab(self, found: list[LintFinding]) -> None:
        issues = json.loads(FORMS["gitlab"](found + found[:1]))
        assert [issue["location"]["lines"]["begin"] for issue in issues] == [one.line for one in found + found[:1]]
        assert len({issue["fingerprint"] for issue in issues}) == len(issues)
        for issue in issues:
            assert issue.keys() == {"description", "check_name", "fingerprint", "severity", "location"}
            assert issue["severity"] in {"info", "minor", "major", "critical", "blocker"}

    def test_sarif(self, found: list[LintFinding]) -> None:
        log = json.loads(FORMS["sarif"](found))
        assert (log["version"], log["$schema"].endswith("sarif-2.1.0.json")) == ("2.1.0", True)
        (run,) = log["runs"]
        driver = run["tool"]["driver"]
        assert [(rule["id"], rule["shortDescription"]["text"]) for rule in driver["rules"]] == list(RULES.items())
        for one, result in zip(found, run["results"], strict=True):
            (location,) = result["locations"]
            place = location["physicalLocation"]
            assert (result["ruleId"], result["level"]) == (one.rule, "warning")
            assert result["message"] == {"text": one.message}
            assert place["region"] == {"startLine": one.line}
            assert re.fullmatch(r"[A-Za-z0-9/._~%-]+", place["artifactLocation"]["uri"])
            assert unquote(place["artifactLocation"]["uri"]) == one.file


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clean.yaml").write_text(CLEAN)
    Path("policy.yaml").write_text(GRANT + user("all", 'publish: ["#"]'))
    assert (run("lint", "clean.yaml").exit_code, run("lint", "clean.yaml").output) == (0, "")
    said = run("lint", "policy.yaml")
    assert (said.exit_code, said.output.count("\n")) == (10, 1)
    assert said.output.startswith("policy.yaml:7: everything: ")
    quiet = run("lint", "policy.yaml", "--quiet")
    assert (quiet.exit_code, quiet.output) == (10, "")
    assert json.loads(run("lint", "policy.yaml", "-q", "--output", "sarif").output)["runs"][0]["results"]
    assert run("lint", "policy.yaml", "--output", "html").exit_code == 64


class Counted(tuple[Permission, ...]):
    """Permissions that count how often they are gone through: rows of included files are read anew each time."""

    __slots__ = ()
    times = 0

    def __iter__(self) -> Iterator[Permission]:
        Counted.times += 1
        return super().__iter__()


def test_permissions_are_gone_through_once(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(CLEAN)
    policy = load_policy([file])
    Counted.times = 0
    lint(replace(policy, permissions=Counted(policy.permissions)), NOW)
    assert Counted.times == 1

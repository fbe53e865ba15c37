"""Lint: each rule finds what it names, and nothing where there is nothing."""

import json
from pathlib import Path

import pytest

from store.sync.document import load_policy
from store.sync.lint import RULES, SOON_MS, LintFinding, Off, lint
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


def findings(tmp_path: Path, text: str, off: tuple[Off, ...] = ()) -> list[LintFinding]:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    return lint(load_policy([file]), NOW, off)


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


WIDE = user("wide", 'publish: ["a/#"]')


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        (WIDE + user("narrow", 'publish: ["a/b"]'), [("shadowed", "narrow")]),
        (user("wide", 'both: ["a/#"]') + user("narrow", 'publish: ["a/+"]'), [("shadowed", "narrow")]),
        (WIDE + user("narrow", 'subscribe: ["a/b"]'), []),
        (user("wide", 'publish: ["a/#"], expires: 2028-01-01') + user("narrow", 'publish: ["a/b"]'), []),
        (user("one", 'publish: ["a/${clientid}"]') + user("two", 'publish: ["a/b"]'), []),
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


def test_places_are_the_lines_of_the_records(tmp_path: Path) -> None:
    (finding,) = findings(tmp_path, GRANT + '  - id: all\n    username: u\n    publish:\n      - "#"\n')
    assert (finding.file, finding.line) == (str(tmp_path / "policy.yaml"), GRANT.count("\n") + 4)


def test_a_rule_can_be_turned_off_for_one_record_or_all(tmp_path: Path) -> None:
    text = GRANT + user("one", 'publish: ["#"]') + user("two", 'subscribe: ["+/#"]')
    one = Off("everything", "one", "policy.yaml", 2)
    assert [(f.rule, f.record) for f in findings(tmp_path, text, (one,))] == [("everything", "two")]
    assert findings(tmp_path, text, (Off("everything", "", "policy.yaml", 2),)) == []


def test_turning_off_what_finds_nothing_is_a_finding(tmp_path: Path) -> None:
    (finding,) = findings(tmp_path, CLEAN, (Off("everything", "read", "policy.yaml", 7),))
    assert (finding.rule, finding.line) == ("unused-off", 7)


def test_every_rule_that_is_found_is_described(tmp_path: Path) -> None:
    del tmp_path
    assert {"shadowed", "unreachable", "deny-blocks-grant", "everything", "claimable", "no-permissions"} < set(RULES)


def test_reports_hold_every_finding(tmp_path: Path) -> None:
    text = GRANT + '  - {id: "a,b:c%", username: u, publish: ["#"], note: "x"}\n'
    found = findings(tmp_path, text)
    assert len(FORMS["text"](found).splitlines()) == 1
    github = FORMS["github"](found)
    assert github.startswith("::warning file=")
    assert github.count("\n") == 1
    (issue,) = json.loads(FORMS["gitlab"](found))
    assert issue["location"]["lines"]["begin"] == found[0].line
    assert len(issue["fingerprint"]) == 64
    (run,) = json.loads(FORMS["sarif"](found))["runs"]
    assert run["results"][0]["ruleId"] == "everything"
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == set(RULES)

"""A plan as a merge-request comment: what stands in it, and what nobody can put into it."""

import html
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores_under_test import Store, identity, instance
from sync_commands_under_test import ONE, run, workplace

from store.sync.markdown import MOST_CHARS, code, markdown
from store.sync.plan import Plan
from store.sync.stand_ins import Compared
from store.sync.thresholds import Refusal

LITERAL = ONE.replace("env: EXHOOK_SECRET_U", "literal: one")
HOSTILE = (
    "a|b", "`x`", "``", "<img src=x onerror=alert(1)>", "</code></details>", "[x](javascript:y)", "![x](//e.x/p)",
    "@all", "#1", "!2", "~label", "/approve", "\n/approve\n", "| a |\n|---|", "**b**", "__b__", "~~b~~", "&lt;",
    "&#96;",
    "https://e.x", "www.e.x", ":smile:", "\\|", "\\`", "$`x`$", "[[_TOC_]]", "<!-- x -->", "```\n", "\u202e",
    "  two  ", " ", "{+ x +}", "%1", "^1", "$1$", "=x=", "1. x", "- x", "# x", "> x",
)  # fmt: skip
SAFE = re.compile(r"[\w /,()-]|&#\d+;")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return workplace(tmp_path, monkeypatch)


def planned(store: Store, first: str, last: str) -> Plan:
    store.apply(first)
    return store.plan(last)


def shown(made: Plan, *refused: Refusal) -> str:
    return markdown(made, refused)


def test_how_it_reads(store: Store) -> None:
    made = planned(
        store,
        f"{LITERAL}permissions: [{{id: p, username: u, publish: [a, b]}}]\n",
        f"{LITERAL.replace('one', 'two')}sync: {{prune: true}}\n"
        "permissions: [{id: p, username: u, both: [a]}]\n"
        "blacklist: [{client_id: c, expires: 2030-01-01}]\n",
    )
    assert html.unescape(shown(made, Refusal("removals", "too many"))) == (
        "### Policy plan of <code>policy</code>\n\n"
        "**1 to add, 2 to change, 1 to remove; 2 clients lose something**\n\n"
        f"Checksum: <code>{made.checksum}</code>\n\n"
        "#### Apply would refuse\n\n"
        "- <code>too many</code>\n\n"
        "#### Loses something\n\n"
        "- <code>user u (mqtt-default)</code>: a secret goes, a grant goes\n"
        "- <code>client c (mqtt-default)</code>: is blacklisted\n\n"
        "#### Is let back in\n\n"
        "- <code>client c (mqtt-default)</code> at 2030-01-01T00:00:00Z\n\n"
        "#### Identities (1)\n\n"
        "| | record | id | place | change |\n|---|---|---|---|---|\n"
        "| ~ | <code>user u (mqtt-default)</code> |  | <code>policy.yaml:2</code> "
        "| <code>secret default: another value</code> |\n\n"
        "#### Permissions (2)\n\n"
        "| | record | id | place | change |\n|---|---|---|---|---|\n"
        "| ~ | <code>user u may publish and subscribe a (mqtt-default)</code> | <code>p</code> "
        "| <code>policy.yaml:4</code> | <code>action: PUB → PUB_SUB</code> |\n"
        "| - | <code>user u may publish b (mqtt-default)</code> | <code>p</code> | <code>policy.yaml:3</code> |  |\n\n"
        "#### Blacklist (1)\n\n"
        "| | record | id | place | change |\n|---|---|---|---|---|\n"
        "| + | <code>client c may not connect (mqtt-default)</code> |  | <code>policy.yaml:5</code> |  |\n"
    )


def test_no_fingerprint_is_in_it(store: Store) -> None:
    made = planned(store, LITERAL, LITERAL.replace("one", "two"))
    printed = [secret["fingerprint"] for change in made.changes for secret in (change.before or {})["secrets"]]
    assert [one for one in printed if one in shown(made)] == []


def test_what_stays_and_what_others_own(store: Store) -> None:
    store.put(instance(), identity("u"))
    made = planned(store, "blacklist: [{client_id: c}]\n", "identities: [{username: u, sign_mode: external}]\n")
    said = html.unescape(shown(made))
    assert "Stays in force though it left the policy, since nothing is pruned\n\n- <code>client c may not" in said
    assert "Another source owns\n\n- <code>user u (mqtt-default)</code>: <code>api</code>\n" in said


def test_secrets_that_were_not_compared_are_told_in_place_of_the_checksum(store: Store) -> None:
    store.write(ONE)
    said = run("plan", "policy.yaml", "--no-secrets", "--output", "markdown").stdout
    assert f"_{Compared.NAME.remark}_" in said
    assert "Checksum" not in said


class TestLength:
    def test_more_than_fifty_are_folded(self, store: Store) -> None:
        topics = ", ".join(f"t{number}" for number in range(60))
        made = store.plan(f"permissions: [{{username: u, publish: [{topics}]}}]\n")
        said = shown(made)
        before, after = said.split("<details><summary>and 10 more</summary>\n\n| | record |")
        assert (before.count("may publish"), after.count("may publish")) == (50, 10)
        assert after.endswith("|\n\n</details>\n")
        assert "<details>" not in markdown(made, everything=True)
        assert markdown(made, everything=True).count("may publish") == 60

    def test_lists_are_folded_too(self, store: Store) -> None:
        store.put(instance())
        entries = ", ".join(f"{{client_id: c{number}}}" for number in range(60))
        made = store.plan(f"blacklist: [{entries}]\n")
        assert shown(made).count("is blacklisted") == 60
        assert shown(made).count("<details><summary>and 10 more</summary>\n\n- <code>") == 1

    @pytest.mark.parametrize("count", [2000, 20])
    def test_a_comment_that_is_too_long_is_cut(self, store: Store, count: int) -> None:
        topics = ", ".join(f"{number}{'x' * (20 if count == 2000 else 6000)}" for number in range(count))
        made = store.plan(f"blacklist: [{{client_id: last}}]\npermissions: [{{username: u, publish: [{topics}]}}]\n")
        said = shown(made)
        assert MOST_CHARS * 0.8 < len(said) < MOST_CHARS + 2000
        assert said.count("<details>") == said.count("</details>")
        rest = re.search(r"… and ([\d,]+) more, for which there is no room; `--output json` names them", said)
        assert rest is not None
        assert said.count("may publish") + int(rest[1].replace(",", "")) == count
        assert len(markdown(made, everything=True)) > MOST_CHARS


@pytest.mark.parametrize("text", HOSTILE)
def test_nobody_can_write_markup_into_it(store: Store, text: str) -> None:
    """Each text at every place where one can stand."""
    quoted = json.dumps(text)
    topic = json.dumps(text.replace("#", "").replace("$", "").replace("+", "") or "t")
    store.apply(f"blacklist: [{{client_id: {quoted}, reason: a}}, {{client_id: c, reason: b}}]\n")
    made = store.plan(
        f"sync: {{prune: true}}\nidentities: [{{username: {quoted}, sign_mode: external, note: {quoted}}}]\n"
        f"permissions: [{{username: {quoted}, publish: [{topic}], deny: {{both: [{topic}]}}}}]\n"
        f"blacklist: [{{client_id: c, reason: {quoted}}}]\n"
    )
    said = shown(made, Refusal("r", f"no: {text}"))
    lines = said.splitlines()
    ours = re.sub(r"<code>(?:[\w /,()-]|&#\d+;)*</code>", "", said)
    assert re.fullmatch(r"[\w\s#*,;:()|~+<>/-]*", ours.replace(made.checksum, "")), ours
    assert set(re.findall(r"<[^>]*>", ours)) == set()
    assert {line[:2] for line in lines if line} <= {"##", "**", "Ch", "- ", "| ", "|-"}


@given(st.text())
def test_what_is_shown_is_what_is_said(text: str) -> None:
    made = code(text)
    inner = made.removeprefix("<code>").removesuffix("</code>")
    assert "".join(SAFE.findall(inner)) == inner
    visible = html.unescape(inner)
    assert visible == visible.strip()
    assert "  " not in visible
    if text.isprintable() and text == text.strip() and "  " not in text:
        assert visible == text


def test_blanks_are_seen() -> None:
    assert html.unescape(code(" a  b ")) == r"<code>\x20a \x20b\x20</code>"


class TestGitlab:
    def test_it_is_what_the_widget_reads(self, store: Store) -> None:
        store.apply("blacklist: [{client_id: a}, {client_id: b}, {client_id: c, reason: x}]\n")
        store.write("sync: {prune: true}\nblacklist: [{client_id: c, reason: y}, {client_id: d}, {username: e}]\n")
        done = run("plan", "policy.yaml", "--output", "gitlab=tfplan.json", "--output", "gitlab", "--max-removals", "2")
        assert done.exit_code == 64
        done = run("plan", "policy.yaml", "--output", "gitlab=tfplan.json", "--output", "gitlab")
        assert json.loads(Path("tfplan.json").read_text()) == {"create": 2, "update": 1, "delete": 2}
        assert done.stdout == Path("tfplan.json").read_text()


def test_several_outputs_in_one_run(store: Store) -> None:
    store.write(ONE)
    done = run(
        "plan", "policy.yaml", "--output", "text", "--output", "json=p.json", "--output", "markdown=p.md",
        "--output", "gitlab=p.gitlab",
    )  # fmt: skip
    checksum = json.loads(Path("p.json").read_text())["checksum"]
    assert checksum in done.stdout
    assert checksum in Path("p.md").read_text()
    assert json.loads(Path("p.gitlab").read_text())["create"] == 2
    assert done.exit_code == 2


class TestFingerprints:
    def test_none_but_on_a_terminal(self, store: Store) -> None:
        """`test_sync_cli_store` has the same for other commands."""
        store.write(ONE)
        for form in ("text", "json", "markdown", "gitlab"):
            run("plan", "policy.yaml", "--output", f"{form}=p.{form}")
            assert not re.search(r"\b[0-9a-f]{16}\b", Path(f"p.{form}").read_text())

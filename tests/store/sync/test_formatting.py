import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from documents_under_test import documents
from hypothesis import assume, given
from hypothesis import strategies as st
from policy_files_under_test import FIXTURES, unhurried

from store.sync.document import InvalidPolicy, load_policy
from store.sync.formatting import WIDTH, formatted
from store.sync.sample import sample
from store.sync.source import read_source
from store.sync.syntax import InvalidSource

VALID = [path for path in sorted(FIXTURES.glob("*.yaml")) if not path.stem.startswith("invalid")]
DEMO = Path(__file__).parents[3] / "exhook" / "demo" / "policy.yaml"


def fmt(text: str) -> str:
    made = formatted(text.encode())
    assert formatted(made.encode()) == made
    return made


def said(path: Path, data: bytes) -> Any:
    """What a file says, places aside; or what is wrong with it."""
    try:
        policy = load_policy([path], instead={path: data})
    except InvalidPolicy as wrong:
        return sorted(error.message for error in wrong.errors)
    records = (*policy.instances, *policy.groups, *policy.permissions, *policy.blacklist)
    plain = [replace(record, origin="") for record in records]
    identities = [
        replace(one, origin="", secrets=tuple(replace(secret, origin="") for secret in one.secrets))
        for one in policy.identities
    ]
    return plain, identities, policy.sync, policy.source, policy.default_instance


def test_keys_come_in_their_order() -> None:
    assert fmt(
        "permissions: [{publish: [a], everyone: true, id: x}]\n"
        "identities: [{sign_mode: origin, secret: {expires: 2027-01-01, env: E, id: s}, username: u}]\n"
        "vars: {b: 1, a: 2}\n"
        "roles: {z: {deny: {both: [a], publish: [b]}, note: n, publish: [c]}, a: {both: [d]}}\n"
        "include: [{defaults: {note: n, sign_mode: signed}, columns: {note: x, username: y}, identities: i.csv}]\n"
        "instances: {z: {note: n, record_quota: 1}, a: {}}\n"
        "groups: [{instance: i, id: GID_abc}]\n"
        "sync: {adopt: [api], limits: {clients_losing_access: 1, removals: 1}, environment: e}\n"
        "tests: [{cannot: {}, name: n}]\n"
        "format: exhook/v1\n"
    ) == (
        "format: exhook/v1\n"
        "sync: {environment: e, limits: {removals: 1, clients_losing_access: 1}, adopt: [api]}\n"
        "vars: {b: 1, a: 2}\n"
        "instances: {z: {record_quota: 1, note: n}, a: {}}\n"
        "groups: [{id: GID_abc, instance: i}]\n"
        "include: [{identities: i.csv, columns: {username: y, note: x}, defaults: {sign_mode: signed, note: n}}]\n"
        "identities: [{username: u, sign_mode: origin, secret: {id: s, env: E, expires: 2027-01-01}}]\n"
        "roles: {z: {publish: [c], deny: {publish: [b], both: [a]}, note: n}, a: {both: [d]}}\n"
        "permissions: [{id: x, everyone: true, publish: [a]}]\n"
        "tests: [{name: n, cannot: {}}]\n"
    )


def test_comments_stay_with_what_they_are_about() -> None:
    assert fmt(
        "# head\n"
        "\n"
        "# of the permissions\n"
        "permissions:    # at their key\n"
        "# above a\n"
        "- {publish: [x], username: a}  # behind a\n"
        "-  publish:\n"
        "    # above y\n"
        "    - y # behind y\n"
        "    # below y\n"
        "   username: b # behind b\n"
        "   # below the entry\n"
        "\n"
        "- # behind a dash\n"
        "  username: c\n"
        "  both: [z, # within\n"
        "         zz] # behind\n"
        "  # at the end\n"
        "# above the format\n"
        "format: exhook/v1\n"
        "# the last\n"
    ) == (
        "# head\n"
        "\n"
        "# of the permissions\n"
        "# above the format\n"
        "format: exhook/v1\n"
        "\n"
        "permissions:    # at their key\n"
        "  # above a\n"
        "  - {username: a, publish: [x]}  # behind a\n"
        "  - username: b  # behind b\n"
        "    publish:\n"
        "      # above y\n"
        "      - y  # behind y\n"
        "      # below y\n"
        "    # below the entry\n"
        "\n"
        "  # behind a dash\n"
        "  - username: c\n"
        "    both:\n"
        "      - z   # within\n"
        "      - zz\n"
        "      # behind\n"
        "    # at the end\n"
        "# the last\n"
    )


def test_comments_with_no_line_to_end_stand_above() -> None:
    assert fmt(
        "format: exhook/v1\n"
        "groups: [\n  # GID_Meters,\n]\n"
        "\n"
        "vars: { # none yet\n }\n"
        "permissions:\n"
        "  - everyone: true\n"
        "    note: # why\n"
        "      |\n"
        "      text\n"
    ) == (
        "format: exhook/v1\n"
        "\n"
        "# none yet\n"
        "vars: {}\n"
        "# GID_Meters,\n"
        "groups: []\n"
        "\n"
        "permissions:\n"
        "  - everyone: true\n"
        "    # why\n"
        "    note: |\n"
        "      text\n"
    )


def test_texts_stay_as_they_are_written() -> None:
    text = (
        "format: 'exhook/v1'\n"
        "\n"
        "blacklist:\n"
        '  - client_id: "é\\u00e9"\n'
        "    reason: >-\n"
        "      folded\n"
        "\n"
        "      text\n"
        "    note: |\n"
        "      two\n"
        "        lines\n"
        "  - client_id: 0123\n"
        "    reason: |2\n"
        "         three blanks more\n"
        "       one\n"
        '    note: "over\n'
        "      lines\\\n"
        '      \\ and blanks"\n'
    )
    assert fmt(text) == text
    deeper = re.sub("^  ", "        ", text, flags=re.MULTILINE)
    assert fmt(deeper) == text


def test_what_keeps_blank_lines_keeps_them() -> None:
    text = "format: exhook/v1\n\nblacklist:\n  - client_id: a\n    note: |+\n      a\n\n\ngroups: []\n"
    made = fmt(text)
    assert read_source(made.encode()).root == read_source(text.encode()).root


def test_wide_brackets_become_lists() -> None:
    topics = ", ".join(f'"a/long/topic/{number}"' for number in range(8))
    made = fmt(f"format: exhook/v1\npermissions: [{{username: a, publish: [{topics}]}}]\n")
    assert made.splitlines()[2:6] == ["permissions:", "  - username: a", "    publish:", '      - "a/long/topic/0"']
    assert max(map(len, made.splitlines())) <= WIDTH


def test_one_long_text_in_brackets_stays() -> None:
    text = f'format: exhook/v1\nidentities: [{{username: a, secret: {{hash: "{"x" * 130}"}}}}]\n'
    assert f'    secret: {{hash: "{"x" * 130}"}}\n' in fmt(text)


def test_anchors_keep_the_order_of_keys() -> None:
    text = (
        "permissions:\n  - &x\n    username: a\n    id: &i y\n  - {client_id: *i, publish: &t [b, c]}\n"
        "  - publish: *t\n    username: *i\nformat: exhook/v1\n"
    )
    assert fmt(text) == text.replace("format", "\nformat")


def test_blank_lines_are_one_at_most() -> None:
    assert fmt(
        "\n\nformat: exhook/v1\n\n\n\nsource: a\n\n\ngroups:\n\n- GID_a\n\n\n- GID_b\nsync: {prune: true}\n\n\n"
    ) == ("format: exhook/v1\n\nsource: a\nsync: {prune: true}\n\ngroups:\n  - GID_a\n\n  - GID_b\n")


@pytest.mark.parametrize(
    "text", ["\ufeffformat: exhook/v1\r\ngroups: [a]\r\n", "---\nformat: exhook/v1\ngroups: [a]\n...\n"]
)
def test_marks_and_line_ends_of_other_systems_go(text: str) -> None:
    assert fmt(text) == "format: exhook/v1\ngroups: [a]\n"


@pytest.mark.parametrize("path", [*VALID, DEMO], ids=lambda path: path.stem)
def test_samples_say_the_same_formatted(path: Path) -> None:
    data = path.read_bytes()
    made = fmt(data.decode()).encode()
    assert said(path, made) == said(path, data)


def test_the_demo_and_the_first_file_are_formatted() -> None:
    assert fmt(DEMO.read_text()) == DEMO.read_text()
    text, _ = sample()
    assert fmt(text) == text


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("format: [a\n", "1:9"),
        ("format: exhook/v1\nformat: b\n", "2:1"),
        ("a: ~\n", "1:1"),
        ("", "1:1"),
        ('? "a\n  b"\n: c\n', "1:3"),
        ("a: b\n\xff".encode("latin-1").decode("latin-1"), "2:1"),
    ],
)
def test_what_cannot_be_read_is_refused_at_its_place(text: str, place: str) -> None:
    with pytest.raises(InvalidSource) as caught:
        formatted(text.encode("latin-1"))
    assert f"{caught.value.fault.line}:{caught.value.fault.column}" == place


@given(documents())
@unhurried(40)
def test_any_policy_says_the_same_formatted(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "formatted.yaml"
    path.touch()
    data = f"format: exhook/v1\n{text}".encode()
    made = fmt(data.decode()).encode()
    assert said(path, made) == said(path, data)


@given(st.sampled_from([*VALID, DEMO]), st.data())
@unhurried(80)
def test_comments_and_blanks_anywhere_are_kept(path: Path, data: st.DataObject) -> None:
    """Wherever YAML lets them stand: the formatter itself checks that nothing is lost and nothing else is said."""
    lines = path.read_text().splitlines()
    for number in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(lines)))
        put = data.draw(st.sampled_from(["own", "behind", "blank", "deeper"]))
        if put == "own":
            lines.insert(at, " " * data.draw(st.integers(0, 8)) + f"# {number}")
        elif put == "blank":
            lines.insert(at, "")
        elif at < len(lines) and put == "behind":
            lines[at] += f"  # {number}"
        elif at < len(lines):
            lines[at] = lines[at].replace("[", "[\n" + " " * 9, 1).replace(", ", f", # {number}\n{' ' * 9}", 1)
    text = "\n".join(lines) + "\n"
    before = read_source(text.encode())
    assume(before.root is not None and not before.faults)
    made = fmt(text)
    assert all(made.count(comment) == text.count(comment) for comment in re.findall(r"# \d+", text))


LEAVES = st.sampled_from([
    "a", "'b c'", '"d"', "e f", '"g\\\n   h"', "|-\n   i\n     j\n", "0123", "k # 1", '"#"', "[ # 2\n]",
    "[\n # 3\n] # 4\n", "{ # 5\n # 6\n}", "# 7\n  []", "# 8\n  |\n  l\n", "# 9\n  { # 10\n\n  }\n", "[]",
])  # fmt: skip


@st.composite
def blocks(draw: st.DrawFn, depth: int, column: int) -> str:
    """YAML in block style with any indentation, comments among the lines."""
    step = " " * draw(st.integers(1, 5))
    inner = " " * column + step
    kind = draw(st.sampled_from(["scalar", "mapping", "list"] if depth else ["scalar"]))
    if kind == "scalar":
        leaf = draw(LEAVES)
        return " " + leaf.replace("\n", "\n" + inner).rstrip(" ") + ("" if leaf.endswith("\n") else "\n")
    made = draw(st.sampled_from(["", "  # head"])) + "\n"
    for number in range(draw(st.integers(1, 3))):
        made += draw(
            st.sampled_from(["", "\n", f"{inner}# own {number}\n", f"{' ' * draw(st.integers(0, 9))}# odd {number}\n"])
        )
        made += f"{inner}{'-' if kind == 'list' else f'k{number}:'}{draw(blocks(depth - 1, len(inner)))}"
    return made


@given(st.data())
@unhurried(120)
def test_any_layout_is_formatted(data: st.DataObject) -> None:
    text = "".join(f"{key}:{data.draw(blocks(3, 0))}" for key in ("tests", "format", "identities", "sync"))
    before = read_source(text.encode())
    assume(before.root is not None and not before.faults)
    fmt(text)

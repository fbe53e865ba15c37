import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.sync.source import MAX_DEPTH, Items, Mapping, Nothing, Text, Value, read_source
from store.sync.syntax import MAX_BYTES


def root(text: str | bytes) -> Mapping:
    source = read_source(text.encode() if isinstance(text, str) else text)
    assert source.root is not None, source.faults
    assert source.faults == ()
    return source.root


def faults(text: str | bytes) -> list[str]:
    source = read_source(text.encode(errors="surrogatepass") if isinstance(text, str) else text)
    return [f"{fault.line}:{fault.column}: {fault.message}" for fault in source.faults]


def one_fault(text: str | bytes) -> str:
    [fault] = faults(text)
    return fault


def place(value: Value) -> tuple[int, int]:
    return value.line, value.column


def test_every_value_and_key_has_its_place() -> None:
    policy = root('one: a\ntwo:\n  - b\n  - "c"\nthree: {four: [d]}\n')
    two, three = policy["two"], policy["three"]
    assert isinstance(two, Items)
    assert isinstance(three, Mapping)
    assert place(policy) == (1, 1)
    assert place(policy["one"]) == (1, 6)
    assert place(two) == (3, 3)
    assert [place(item) for item in two] == [(3, 5), (4, 5)]
    assert place(three) == (5, 8)
    assert (three.key_at("four").line, three.key_at("four").column) == (5, 9)
    assert (three.key_at("absent").line, three.key_at("absent").column) == (5, 8)


@pytest.mark.parametrize(
    "text",
    ["no", "yes", "true", "1e3", "0123", "0o17", "0x1F", "1_000", ".inf", "2026-01-01", "12:30:45", "<<<", "=", "nil"],
)
def test_a_scalar_is_the_text_that_is_written(text: str) -> None:
    value = root(f"key: {text}")["key"]
    assert value == text
    assert isinstance(value, Text)
    assert value.plain


@pytest.mark.parametrize("written", ['"true"', "'true'", "|-\n  true", "!!str true", "! true"])
def test_quotes_and_block_styles_say_that_it_is_a_text(written: str) -> None:
    value = root(f"key: {written}")["key"]
    assert value == "true"
    assert isinstance(value, Text)
    assert not value.plain


@pytest.mark.parametrize("null", ["", "~", "null", "Null", "NULL"])
def test_nulls_are_faults(null: str) -> None:
    source = read_source(f"key: {null}\nother: [a, {null or '~'}]".encode())
    assert source.root is not None
    assert isinstance(source.root["key"], Nothing)
    assert [(fault.line, fault.column) for fault in source.faults] == [(1, 1), (2, 12)]


def test_a_quoted_null_and_an_empty_text_are_texts() -> None:
    assert root("a: 'null'\nb: '~'\nc: ''") == {"a": "null", "b": "~", "c": ""}


def test_a_null_key_is_no_key() -> None:
    assert "a key that is no text" in one_fault("~: a")


@pytest.mark.parametrize(
    ("text", "place"),
    [("publish: [*]", "1:11"), ("publish: [*, a]", "1:11"), ("publish:\n  - *\n", "2:5"), ("a: *", "1:4")],
)
def test_a_star_in_place_of_a_filter_is_explained(text: str, place: str) -> None:
    assert one_fault(text) == (
        f"{place}: `*` begins an alias here; every topic is `#`, and a text that begins with `*` must be quoted"
    )


def test_a_comment_in_place_of_a_filter_is_explained() -> None:
    assert one_fault("subscribe:\n  - #\n") == (
        "2:4: no value here, for `#` begins a comment; quote a text that begins with `#`"
    )


@pytest.mark.parametrize(
    "text", ["\ufeffa: b\nc: d\n", "a: b\r\nc: d\r\n", "a: b\rc: d\r", "a: b\nc: d", "---\na: b\nc: d\n...\n"]
)
def test_byte_order_mark_and_line_ends(text: str) -> None:
    policy = root(text)
    assert policy == {"a": "b", "c": "d"}
    c = policy.key_at("c")
    assert c.column == 1
    assert c.line == (3 if text.startswith("---") else 2)


def test_not_utf_8_is_refused_at_its_place() -> None:
    assert one_fault("a: b\ncafé: ".encode() + b"\xe9t\xe9\n") == "2:7: not UTF-8 from here on; save the file as UTF-8"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_other_unicode_encodings_are_refused(encoding: str) -> None:
    assert "save the file as UTF-8" in one_fault("a: b".encode(encoding))


def test_control_characters_are_refused_at_their_place() -> None:
    assert one_fault("a: b\r\nc: d\x07e").startswith("2:5: a control character")


def test_a_tab_in_indentation_is_named() -> None:
    assert one_fault("a:\n\t- b") == "2:1: a tab; indent and separate with blanks"


def test_a_large_file_is_refused_unread() -> None:
    assert one_fault(b"#" * (MAX_BYTES + 1)) == "1:1: a file of more than 64 MiB; split it"


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "\ufeff"])
def test_an_empty_file_is_no_policy(text: str) -> None:
    assert one_fault(text) == "1:1: an empty file; a policy begins with `format: exhook/v1`"


@pytest.mark.parametrize("text", ["a", "- a", "---\n", "'a: b'"])
def test_what_is_no_mapping_is_no_policy(text: str) -> None:
    assert "a policy is a mapping" in one_fault(text)


def test_a_duplicate_key_names_the_first_and_keeps_its_value() -> None:
    source = read_source(b'a: 1\nb: 2\n"a": 3\n')
    assert source.root == {"a": "1", "b": "2"}
    assert [str(fault.message) for fault in source.faults] == [
        "`a` is given a second time, first in line 1; leave one out"
    ]
    assert (source.faults[0].line, source.faults[0].column) == (3, 1)


def test_an_aliased_value_keeps_the_place_of_its_anchor() -> None:
    policy = root("a: &x [b]\nc: *x\n&k d: e\nf: {*k : g}\n")
    assert policy["c"] is policy["a"]
    assert place(policy["c"]) == (1, 4)
    assert policy["f"] == {"d": "g"}


def test_aliases_within_bounds_are_expanded() -> None:
    topics = ", ".join(f"t{number}" for number in range(1000))
    uses = "\n".join(f"k{number}: *topics" for number in range(90))
    policy = root(f"topics: &topics [{topics}]\n{uses}\n")
    assert len(policy) == 91


def test_aliases_that_multiply_are_refused() -> None:
    topics = ", ".join(f"t{number}" for number in range(1000))
    uses = "\n".join(f"k{number}: *topics" for number in range(300))
    assert "aliases that expand" in one_fault(f"topics: &topics [{topics}]\n{uses}\n")


def test_aliases_that_expand_to_a_million_values_are_refused() -> None:
    topics = ", ".join(f"t{number}" for number in range(12_000))
    uses = "\n".join(f"k{number}: *topics" for number in range(90))
    assert "aliases that expand" in one_fault(f"topics: &topics [{topics}]\n{uses}\n")


@pytest.mark.parametrize("text", ["a: &x [*x]", "a: &x {b: {c: *x}}", "&x a: &y {b: *x, c: [*y]}"])
def test_a_value_within_itself_is_refused(text: str) -> None:
    assert "an alias within its own anchor" in one_fault(text)


def test_depth_is_bounded() -> None:
    assert root("a: " + "[" * (MAX_DEPTH - 1) + "b" + "]" * (MAX_DEPTH - 1))
    assert f"more than {MAX_DEPTH} levels" in one_fault("a: " + "[" * MAX_DEPTH + "b" + "]" * MAX_DEPTH)
    assert f"more than {MAX_DEPTH} levels" in one_fault("a: " + "[" * 100_000)


@pytest.mark.parametrize(
    "text",
    [
        "secret: {literal: CANARY: CANARY}",
        "secret: {literal: @CANARY}",
        "secret: {literal: `CANARY`}",
        "secret: {literal: %CANARY}",
        "secret: {literal: 'CANARY}",
        'secret: {literal: "CANARY\\q"}',
        'secret: {literal: "CANARY\\xZZ"}',
        'secret: {literal: "CANARY\\U00110000"}',
        "secret: {literal: *CANARY}",
        "secret: {literal: &CANARY}",
        "secret: {literal: !CANARY x}",
        "secret: {literal: !!CANARY x}",
        "secret: {literal: !C!CANARY x}",
        "secret: {literal: !<CANARY x}",
        "secret: {literal: !%CANARY x}",
        "secret: {literal: CANARY}}",
        "secret: {literal: [CANARY}",
        "secret: {literal: ${CANARY}}",
        "secret: {CANARY, CANARY}",
        "secret: {CANARY: a, CANARY: b}",
        "secret: [&CANARY a, &CANARY b]",
        "secret: |CANARY\n x",
        "secret:\n  literal: CANARY\n CANARY",
        "secret:\n\tCANARY",
        "secret: CANARY\x07",
        "secret: CANARY\ud800",
        "secret: CANARY\n---\nCANARY",
        "secret: {? [CANARY] : a}",
        "secret: \\ud800CANARY\ud800",
        "%TAG !CANARY! CANARY\n---\na: b",
        "secret: {literal: CANARY, <<: CANARY}",
    ],
)
def test_no_fault_repeats_the_text_of_the_file(text: str) -> None:
    found = faults(text)
    assert found
    assert "CANARY" not in "\n".join(found)


@given(st.one_of(st.text(), st.text(alphabet="ab:-[]{}#&*!|>'\"%@`,?\\$~ \t\r\n\x85\u2028\ufeff")))
def test_any_text_is_a_policy_or_has_a_fault_within_it(text: str) -> None:
    source = read_source(text.encode(errors="surrogatepass"))
    assert source.root is not None or source.faults
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for fault in source.faults:
        assert 1 <= fault.line <= len(lines) + 1
        assert fault.column >= 1
        assert "\n" not in fault.message


@given(st.binary())
def test_any_bytes_are_a_policy_or_have_a_fault(data: bytes) -> None:
    source = read_source(data)
    assert source.root is not None or source.faults


_LEAVES = st.text(st.characters(codec="utf-8", exclude_characters="\x7f", exclude_categories=["Cs", "Cc"]))
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_LEAVES, inner, max_size=4)),
    max_leaves=12,
)


@given(st.dictionaries(_LEAVES, _TREES, max_size=5))
def test_json_means_itself(tree: dict[str, Any]) -> None:
    """JSON with texts alone is YAML that means the same: an oracle for quotes, nesting and places."""
    written = json.dumps(tree, ensure_ascii=False)
    assert root(written) == tree

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.sync.json_lines import JsonLines
from store.sync.source import Items, Mapping, Text, Value
from store.sync.syntax import Fault

KEYS = st.text(st.characters(codec="utf-8"), max_size=5)
TREES = st.recursive(
    st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=10,
)


def located(line: bytes) -> tuple[Mapping | None, list[Fault]]:
    faults: list[Fault] = []
    table = JsonLines(line)
    [row] = table.rows()
    return table.located(row, faults), faults


@given(st.dictionaries(KEYS, TREES, max_size=4), st.booleans(), st.sampled_from([None, 1]))
def test_both_readings_are_json(tree: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    line = json.dumps(tree, ensure_ascii=ascii_only, separators=(", ", " : ") if indent else (",", ":")).encode()
    [row] = JsonLines(line).rows()
    assert row.plain in (None, tree)
    value, faults = located(line)
    assert value == tree
    assert faults == []


@given(st.dictionaries(KEYS, TREES, min_size=1, max_size=4))
def test_every_value_has_its_place(tree: dict[str, Any]) -> None:
    text = json.dumps(tree, ensure_ascii=False)
    value, _ = located(text.encode())
    assert value is not None
    for one in _values(value):
        first = text[one.column - 1]
        assert first == ("{" if isinstance(one, Mapping) else "[" if isinstance(one, Items) else '"')
        if isinstance(one, Text):
            assert json.JSONDecoder().raw_decode(text, one.column - 1)[0] == one


def _values(value: Value) -> list[Value]:
    inner = list(value.values()) if isinstance(value, Mapping) else list(value) if isinstance(value, Items) else []
    return [value, *(found for one in inner for found in _values(one))]


@given(st.one_of(st.binary(max_size=40), st.text(alphabet='{}[]",:\\u0d8nulltrue1 ', max_size=40).map(str.encode)))
def test_any_line_is_read_or_has_a_fault(line: bytes) -> None:
    line = b"{" + line.replace(b"\n", b"").replace(b"\r", b"")
    value, faults = located(line)
    assert value is not None or faults
    for fault in faults:
        assert fault.line == 1
        assert 1 <= fault.column <= len(line) + 1
    [row] = JsonLines(line).rows()
    if row.plain is not None and not faults:
        assert value is not None


def test_blank_lines_a_mark_and_a_missing_end_of_line() -> None:
    rows = list(JsonLines(b'\xef\xbb\xbf{"a": "b"}\r\n\n  \t\n{"c": "d"}').rows())
    assert [(row.line, row.plain) for row in rows] == [(1, {"a": "b"}), (4, {"c": "d"})]


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        (b'{"a": "\\ud83d\\ude00"}', None),
        (b'{"a": "\\u00e9"}', {"a": "é"}),
        (b'{"a": "b", "a": "c"}', None),
        (b'{"a": {"b": "c", "b": "c"}}', None),
        (b"[" * 100_000, None),
        (b'{"a": ' + b"9" * 5000 + b"}", None),
        (b'{"a": "\xff"}', None),
        (b'{"a": "b"', None),
    ],
)
def test_what_needs_a_second_look(line: bytes, plain: dict[str, Any] | None) -> None:
    [row] = JsonLines(line).rows()
    assert row.plain == plain


def test_a_surrogate_pair_is_a_character() -> None:
    value, faults = located(b'{"a": "\\ud83d\\ude00"}')
    assert value == {"a": "😀"}
    assert faults == []


@pytest.mark.parametrize(
    "line",
    [
        b'{"secret": {"CANARY": 1, "CANARY": 2}}',
        b'{"secret": {"literal": CANARY}}',
        b'{"secret": {"literal": "CANARY',
        b'{"secret": {"literal": "CANARY\\q"}}',
        b'{"secret": "CANARY" "CANARY"}',
        b'{"secret": {"literal": "CANARY\\ud800"}}',
        b'{"secret": "CANARY\xff"}',
    ],
)
def test_no_fault_repeats_a_secret(line: bytes) -> None:
    _, faults = located(line)
    assert faults
    assert "CANARY" not in "".join(fault.message for fault in faults)

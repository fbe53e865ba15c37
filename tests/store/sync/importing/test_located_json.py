import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.sync.findings import InvalidPolicy
from store.sync.importing.located_json import MAX_DEPTH, Json, read_json
from store.sync.importing.original import Original

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def read(text: str) -> Json:
    return read_json(Original("a.json", text))


def plain(value: Json) -> Any:
    if isinstance(value.value, dict):
        return {key: plain(one) for key, one in value.value.items()}
    if isinstance(value.value, list):
        return [*map(plain, value.value)]
    return value.value


@given(VALUES, st.sampled_from([None, 0, "\t"]), st.booleans())
def test_it_reads_what_json_writes(value: Any, indent: int | str | None, ascii_: bool) -> None:
    assert plain(read(json.dumps(value, indent=indent, ensure_ascii=ascii_))) == value


def test_values_know_their_lines() -> None:
    root = read('{\n\t"a": [\n1,\n "x"]\n, "b": {"c": true}}')
    assert [str(one.spot) for one in root.get("a").items()] == ["a.json:3", "a.json:4"]
    assert str(root.get("b").get("c").spot) == "a.json:5"
    assert root.get("b").get("c").true()


def test_what_is_not_there_is_nothing() -> None:
    root = read('{"a": 1, "B": 2, "t": true, "f": 1e400, "n": -3.0}')
    assert root.get("b").value is None
    assert root.find("b").value == 2
    assert root.find("nothing").value is None
    assert (root.text(), root.items(), root.get("a").text(), root.get("a").get("x").value) == ("", [], "", None)
    assert [root.get(key).number(7) for key in ("a", "t", "f", "n", "x")] == [1, 7, 7, -3, 7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: no JSON value begins here"),
        ("{", "1:2: a key in double quotes is missing here"),
        ('{"a" 1}', "1:6: a `:` is missing here"),
        ('{"a": 1 "b": 2}', "1:9: a `,` or a `}` is missing here"),
        ('{"a": 1,\n "a": 2}', "2:2: a key for the second time, first in line 1"),
        ("[1 2]", "1:4: a `,` or a `]` is missing here"),
        ("[1,]", "1:4: no JSON value begins here"),
        ('"abc', "1:1: a text that goes wrong here"),
        ('"a\nb"', "1:3: a text that goes wrong here"),
        ('"\\ud800"', "1:1: half of a surrogate pair"),
        ("1 2", "1:3: something behind the end"),
        ("nil", "1:1: no JSON value begins here"),
        ("9" * 400, "1:1: a number that is far too long"),
        ("[" * 5000, f"1:{MAX_DEPTH + 1}: more than {MAX_DEPTH} levels"),
    ],
)
def test_what_goes_wrong_has_its_place(text: str, message: str) -> None:
    with pytest.raises(InvalidPolicy) as raised:
        read(text)
    assert str(raised.value).startswith(f"a.json:{message}")

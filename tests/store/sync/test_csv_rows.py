import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.sync.csv_rows import CsvRows
from store.sync.include import IdentityColumns, PermissionColumns
from store.sync.source import Items, Mapping, Text, Value
from store.sync.syntax import Fault, InvalidSource
from store.sync.table import Row

CELLS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\r"), max_size=8)
IDENTITY = frozenset(IdentityColumns.model_fields)
PERMISSION = frozenset(PermissionColumns.model_fields)


def table(
    data: bytes | str, columns: dict[str, str] | None = None, *, keys: frozenset[str] = IDENTITY, **more: str
) -> CsvRows:
    raw = data.encode() if isinstance(data, str) else data
    return CsvRows(raw, keys, columns, **{"delimiter": ",", "separator": "", **more})


def both(rows: CsvRows) -> list[tuple[Row, Mapping | None, list[Fault]]]:
    found = []
    for row in rows.rows():
        faults: list[Fault] = []
        found.append((row, rows.located(row, faults), faults))
    return found


def refusal(rows: CsvRows) -> str:
    with pytest.raises(InvalidSource) as caught:
        list(rows.rows())
    fault = caught.value.fault
    return f"{fault.line}:{fault.column}: {fault.message}"


@given(
    st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=5),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_cells_are_what_a_csv_writer_wrote(rows: list[list[str]], delimiter: str, end: str, quoting: Any) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([["username", "note", "hash"], *rows])
    text = stream.getvalue()
    read = both(table(text, delimiter=delimiter))
    assert len(read) == len(rows)
    for (row, value, faults), (username, note, digest) in zip(read, rows, strict=True):
        cells = {key: cell for key, cell in (("username", username), ("note", note)) if cell}
        assert row.plain == cells | ({"secret": {"hash": digest}} if digest else {})
        assert value == row.plain
        assert faults == []
        assert value is not None
        for one in _texts(value):
            _check_place(text, one, delimiter)


def _texts(value: Value) -> list[Text]:
    if isinstance(value, Text):
        return [value]
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, Items) else ()
    return [found for one in inner for found in _texts(one)]


def _check_place(text: str, one: Text, delimiter: str) -> None:
    line = text.split("\n")[one.line - 1]
    at = line[one.column - 1 :]
    assert one.column == 1 or line[one.column - 2] == delimiter
    first = str(one).split("\n")[0]
    assert at.startswith((first, '"' + first.replace('"', '""')))


def test_keys_find_their_places_in_the_entry() -> None:
    text = (
        "username,client_ids_prefix,client_ids_group,secret_id,env,file,literal,secret_expires,protect\n"
        "u,p,g,i,e,f,l,2027-01-01,true\n"
    )
    [(row, value, _)] = both(table(text))
    assert row.plain == {
        "username": "u",
        "client_ids": {"prefix": "p", "group": "g"},
        "secret": {"id": "i", "env": "e", "file": "f", "literal": "l", "expires": "2027-01-01"},
        "protect": True,
    }
    assert value == {**row.plain, "protect": "true"}


def test_lists_are_one_topic_unless_a_separator_is_named() -> None:
    text = "username,publish,deny_both,roles\nu,a b;c,x y,r s\n"
    [(row, value, _)] = both(table(text, keys=PERMISSION))
    assert row.plain == value == {"username": "u", "publish": ["a b;c"], "deny": {"both": ["x y"]}, "roles": ["r s"]}
    [(row, value, _)] = both(table(text, keys=PERMISSION, separator=" "))
    assert row.plain == {"username": "u", "publish": ["a", "b;c"], "deny": {"both": ["x", "y"]}, "roles": ["r", "s"]}
    assert row.plain == value


def test_columns_have_their_own_names_and_others_are_not_read() -> None:
    rows = table("user,secret,x\nu,s,y\n", {"username": "user", "hash": "secret", "id": "user"})
    [(row, _, _)] = both(rows)
    assert row.plain == {"username": "u", "secret": {"hash": "s"}, "id": "u"}
    assert rows.warnings == ()


def test_a_column_of_our_name_that_is_not_read_is_told() -> None:
    rows = table("user,client_id\nu,c\n", {"username": "user"})
    both(rows)
    [warning] = rows.warnings
    assert (warning.line, warning.column) == (1, 6)
    assert "the column `client_id` is not read" in warning.message


def test_rows_begin_where_they_begin() -> None:
    rows = both(table('\n"user\nname",note\n\na,"x\ny"\n\nb,c\n', {"username": "user\nname", "note": "note"}))
    assert [row.line for row, _, _ in rows] == [5, 8]
    [_, (_, value, _)] = rows
    assert value is not None
    assert [(one.line, one.column) for one in _texts(value)] == [(8, 1), (8, 3)]


def test_a_mark_at_the_beginning_and_no_end_of_line() -> None:
    [(row, _, _)] = both(table(b"\xef\xbb\xbfusername\nu"))
    assert row.plain == {"username": "u"}


@pytest.mark.parametrize("cells", ["a", "a,b,c", ",,,"])
def test_rows_have_the_cells_of_the_header(cells: str) -> None:
    [(row, value, [fault])] = both(table(f"username,note\n{cells}\n"))
    assert row.plain is None
    assert value is None
    assert fault.line == 2
    assert "and the header has 2" in fault.message


def test_a_flag_is_true_or_false() -> None:
    [(row, value, _)] = both(table("username,protect\na,yes\n"))
    assert row.plain is None
    assert value == {"username": "a", "protect": "yes"}


@pytest.mark.parametrize(
    ("data", "columns", "said"),
    [
        (b"", None, "1:1: an empty file"),
        (b"\n\n", None, "1:1: an empty file"),
        (b"usernam\nCANARY\n", None, "1:1: a column of a name that is no key; did you mean `username`?"),
        (b"username,CANARY\n", None, "1:10: a column of a name that is no key; the keys are id, username, "),
        (b"username,\n", None, "1:10: a column of a name that is no key"),
        (b"CANARY,CANARY\n", {"username": "user"}, "1:1: no column is named as `columns` says for `username`"),
        (b"a,user,user\n", {"username": "user"}, "1:3: two columns of one name"),
        (b'username\n"CANARY\n', None, "2:1: no CSV from here on"),
        (b'username\n"CANARY"x\n', None, "2:1: no CSV from here on"),
        (b"username\nCAN\rARY\n", None, "2:1: no CSV from here on"),
        (b"username\nok\nCANARY\xff\n", None, "3:7: not UTF-8 from here on"),
        (b"username\n" + b"a" * 200_000, None, "2:1: no CSV from here on"),
    ],
)
def test_what_is_no_table_is_told_without_a_cell(data: bytes, columns: dict[str, str] | None, said: str) -> None:
    found = refusal(table(data, columns))
    assert found.startswith(said)
    assert "CANARY" not in found


@given(st.binary(max_size=60))
def test_any_bytes_are_rows_or_have_a_fault(data: bytes) -> None:
    rows = table(b"username,note\n" + data)
    try:
        for row, value, faults in both(rows):
            assert (value is None) == bool(faults)
            assert row.plain is None or row.plain == value or "protect" in row.plain
    except InvalidSource as wrong:
        assert wrong.fault.line >= 2  # noqa: PT017 - some bytes are rows, and raise nothing

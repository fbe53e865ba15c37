import pytest

from store.sync.findings import InvalidPolicy
from store.sync.importing.erlang import MAX_DEPTH, Term, read_terms
from store.sync.importing.original import Original


def read(text: str) -> list[object]:
    return [plain(term) for term in read_terms(Original("acl.conf", text))]


def plain(term: Term) -> object:
    if term.kind == "tuple":
        return tuple(map(plain, term.items))
    if term.kind == "list":
        return [*map(plain, term.items)]
    return term.text if term.kind == "string" else f"{term.kind}:{term.text}"


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        ("% nothing\n%% but remarks", []),
        ("all.", ["atom:all"]),
        ("{allow, all}.\n{deny, all}.", [("atom:allow", "atom:all"), ("atom:deny", "atom:all")]),
        ('{a,["x" , "y"],[]} .', [("atom:a", ["x", "y"], [])]),
        ("{'and', 'it''s'}.", None),
        ("{'and', 'a b'}.", [("atom:and", "atom:a b")]),
        ('<<"x/y">>.', ["x/y"]),
        ('<<"é"/utf8>>.', ["é"]),
        ('"one " % a remark\n "two".', ["one two"]),
        (r'"a\"b\\c\n\x{e9}\x41\101\^A\s".', ['a"b\\c\né' + "AA\x01 "]),
        ("{qos, 1}. -2. 3.5e1. 16#ff.", [("atom:qos", "number:1"), "number:-2", "number:3.5e1", "number:16#ff"]),
        ('"日本🎉".', ["日本🎉"]),
        ('"a % no remark".', ["a % no remark"]),
    ],
)
def test_terms(text: str, terms: list[object] | None) -> None:
    if terms is None:
        with pytest.raises(InvalidPolicy):
            read(text)
    else:
        assert read(text) == terms


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{allow, all}", "1:13: a full stop is missing"),
        ("{allow, all}\n{deny, all}.", "2:1: a full stop is missing"),
        ("{allow, all", "1:12: a `,` or a `}` is missing here"),
        ("\n  {allow,", "2:3: a `{` that is never closed"),
        ("{allow, ]}.", "1:9: ']' begins no Erlang term"),
        ("{allow all}.", "1:8: a `,` or a `}` is missing here"),
        ('{allow, "all}.', '1:9: a " that is never closed'),
        ("{Allow}.", "1:2: 'A' begins no Erlang term"),
        ("<<1,2>>.", "1:1: a binary that is no text"),
        ('"\\', "1:2: a backslash at the end"),
        ('"\\x{d800}".', "1:2: an escape of no character"),
        ('"\\x{110000}".', "1:2: an escape of no character"),
        ("{a,}.", "1:4: '}' begins no Erlang term"),
        ("[" * 1000, f"1:{MAX_DEPTH + 1}: more than {MAX_DEPTH} levels"),
    ],
)
def test_what_goes_wrong_has_its_place(text: str, message: str) -> None:
    with pytest.raises(InvalidPolicy) as raised:
        read(text)
    assert str(raised.value).startswith(f"acl.conf:{message}")

"""HOCON as EMQX prints it, and what is none."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from emqx_api_under_test import printed
from hypothesis import given
from hypothesis import strategies as st

from exhook.brokers.hocon import NotHocon, read_hocon

ROOT = Path(__file__).parents[2]
KEYS = st.text(st.characters(codec="utf-8", min_codepoint=32), min_size=1, max_size=8)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=12).filter(
    lambda text: text not in {"true", "false", "null"} and not text.lstrip("-").replace(".", "").isnumeric()
)
PLAIN = st.none() | st.booleans() | st.integers(-10_000, 10_000) | TEXTS
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_what_is_printed_is_read(value: dict[str, Any]) -> None:
    assert read_hocon("".join(printed(value))) == value


@given(st.text(max_size=60) | st.text('{}[]=:,"a.\n#$', max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(NotHocon):
        assert isinstance(read_hocon(text), dict)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ("a = 5s\nb { c = [x, y, 1.5] }\n", {"a": "5s", "b": {"c": ["x", "y", 1.5]}}),
        ("a.b = 1, a.c = 2 # said by the way", {"a": {"b": 1, "c": 2}}),
        ("a {b = 1}\na {c = 2}", {"a": {"b": 1, "c": 2}}),
        ('path = "${EMQX_ETC_DIR}/acl.conf"', {"path": "${EMQX_ETC_DIR}/acl.conf"}),
        ('"1" : { "a b" = """one "two" three""" }', {"1": {"a b": 'one "two" three'}}),
        ("bind = 0.0.0.0:1883", {"bind": "0.0.0.0:1883"}),
        (r'a = "\^\$SYS"', {"a": "^$SYS"}),
        ("cpu = 80%, off = false, none = null", {"cpu": "80%", "off": False, "none": None}),
    ],
)
def test_examples(text: str, value: dict[str, Any]) -> None:
    assert read_hocon(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "a", "a = ", "a = {", "a = [", "a = 1 }", "= 1", "a = }", 'a = "open', "a = ${HOME}", "a = 1\na.b = 2",
        "a" * 4_000_001, "a = " + "[" * 100,
    ],
    ids=range(12),
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    with pytest.raises(NotHocon):
        read_hocon(text)


def test_nothing_is_included(tmp_path: Path) -> None:
    """A broker cannot have us open a file of its choice."""
    (tmp_path / "secret.conf").write_text("canary = 1\n")
    with pytest.raises(NotHocon):
        read_hocon(f'include "{tmp_path}/secret.conf"')


def test_the_configuration_that_is_shipped() -> None:
    text = (ROOT / "deploy" / "emqx" / "emqx-5.hocon").read_text(encoding="utf-8")
    assert read_hocon(text)["exhook"]["servers"][0]["auto_reconnect"] == "5s"

"""The configuration for EMQX holds every line that keeps the broker closed, and the documentation quotes it."""

import re
from pathlib import Path
from typing import Any, Final

import pytest

from exhook.renewing import TOPIC
from exhook.settings import Settings, split_address
from store.decision import UPLOAD_TOPIC

ROOT: Final = Path(__file__).parents[2]
HOCON: Final = ROOT / "deploy" / "emqx" / "emqx-5.hocon"
CONF_4: Final = ROOT / "deploy" / "emqx" / "emqx-4.4.conf"
PAGE: Final = ROOT / "docs" / "emqx.md"

_TOKEN: Final = re.compile(r'\s*(?:#[^\n]*|"([^"\n]*)"|([\[\]{},=])|([^\s\[\]{},="#]+))')


def read_hocon(text: str) -> dict[str, Any]:
    """The part of HOCON that our file uses: objects, lists, words, quoted texts, dotted keys, comments.

    Raises:
        ValueError: anything else, a key given twice, a bracket left open.
    """
    tokens = []
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if not found:
            raise ValueError(f"not understood: {text[at : at + 20]!r}")
        at = found.end()
        if found[2]:
            tokens.append(found[2])
        elif found[1] is not None or found[3]:
            tokens.append(f"'{found[1] if found[1] is not None else found[3]}")
    made, rest = _object([*tokens, "}"])
    if rest:
        raise ValueError("a bracket too many")
    return made


def _object(tokens: list[str]) -> tuple[dict[str, Any], list[str]]:
    made: dict[str, Any] = {}
    while tokens and tokens[0] != "}":
        key, tokens = tokens[0][1:], tokens[1:]
        if tokens[:1] == ["="]:
            tokens = tokens[1:]
        elif tokens[:1] != ["{"]:
            raise ValueError(f"{key}: neither = nor an object")
        value, tokens = _value(tokens)
        holder = made
        *outer, last = key.split(".")
        for name in outer:
            holder = holder.setdefault(name, {})
        if last in holder:
            raise ValueError(f"{key}: given twice")
        holder[last] = value
        tokens = tokens[1:] if tokens[:1] == [","] else tokens
    if not tokens:
        raise ValueError("a bracket left open")
    return made, tokens[1:]


def _value(tokens: list[str]) -> tuple[Any, list[str]]:
    if tokens[0] == "{":
        return _object(tokens[1:])
    if tokens[0].startswith("'"):
        return tokens[0][1:], tokens[1:]
    if tokens[0] != "[":
        raise ValueError(f"no value: {tokens[0]!r}")
    items, tokens = [], tokens[1:]
    while tokens[:1] != ["]"]:
        item, tokens = _value(tokens)
        items.append(item)
        tokens = tokens[1:] if tokens[:1] == [","] else tokens
    return items, tokens[1:]


def read_properties(text: str) -> dict[str, str]:
    """``key = value`` lines; a key given twice is an error, as EMQX 4.4 has it."""
    made: dict[str, str] = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            key, equals, value = line.partition(" = ")
            assert equals, line
            assert key not in made, f"{key}: given twice"
            made[key] = value
    return made


def quoted(language: str) -> list[str]:
    """The fenced blocks of one language in the page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def five() -> dict[str, Any]:
    return read_hocon(HOCON.read_text(encoding="utf-8"))


@pytest.fixture
def four() -> dict[str, str]:
    return read_properties(CONF_4.read_text(encoding="utf-8"))


def test_5_refuses_by_itself_whom_nobody_vouched_for(five: dict[str, Any]) -> None:
    (floor,) = five["authentication"]
    assert floor["backend"] == "built_in_database"
    assert floor["mechanism"] == "password_based"
    # A file of users to begin with would put users in front of ExHook.
    assert not [key for key in floor if "bootstrap" in key]
    assert floor.get("enable", "true") == "true"


def test_5_asks_exhook_for_permissions_and_denies_without_it(five: dict[str, Any]) -> None:
    assert five["authorization"]["sources"] == []
    assert five["authorization"]["no_match"] == "deny"
    assert five["authorization"]["deny_action"] in {"ignore", "disconnect"}


def test_5_lets_no_answer_live_long(five: dict[str, Any]) -> None:
    assert five["authorization"]["cache"] == {"enable": "true", "max_size": "32", "ttl": "10s"}


def test_5_takes_no_answer_for_a_denial(five: dict[str, Any]) -> None:
    (server,) = five["exhook"]["servers"]
    assert server["enable"] == "true"
    assert server["failed_action"] == "deny"
    assert server["auto_reconnect"] == "5s"
    assert server["request_timeout"] == "5s"
    assert server["pool_size"] == "8"


def test_5_says_nothing_else(five: dict[str, Any]) -> None:
    assert five.keys() == {"authentication", "authorization", "exhook", "rewrite"}
    assert five["exhook"].keys() == {"servers"}


def test_5_renames_what_renews_tokens_to_what_the_server_asks_for(five: dict[str, Any]) -> None:
    (rule,) = five["rewrite"]
    assert rule["action"] == "publish"
    assert (rule["source_topic"], rule["dest_topic"]) == (UPLOAD_TOPIC, TOPIC)
    # HOCON reads two backslashes as one.
    assert re.fullmatch(rule["re"].replace("\\\\", "\\"), UPLOAD_TOPIC)


def test_4_has_the_same_rule_at_hand() -> None:
    (rule,) = re.findall(r"^##module\.rewrite\.pub\.rule\.1 = (.*)$", CONF_4.read_text(encoding="utf-8"), re.MULTILINE)
    source, expression, renamed = rule.split()
    assert (source, renamed) == (UPLOAD_TOPIC, TOPIC)
    assert re.fullmatch(expression, UPLOAD_TOPIC)


def test_4_is_closed_with_and_without_exhook(four: dict[str, str]) -> None:
    assert four["exhook.request_failed_action"] == "deny"
    assert four["exhook.auto_reconnect"] == "5s"
    assert four["exhook.request_timeout"] == "5s"
    assert four["allow_anonymous"] == "false"
    assert four["acl_nomatch"] == "deny"
    assert four["acl_file"] == "etc/acl.conf"
    assert four["acl_cache_ttl"] == "10s"


def test_4_leaves_no_listener_that_asks_nobody(four: dict[str, str]) -> None:
    assert four["zone.internal.allow_anonymous"] == "false"
    assert four["zone.internal.enable_acl"] == "on"
    assert four["zone.internal.bypass_auth_plugins"] == "false"
    assert not [key for key in four if key.endswith(".allow_anonymous") and four[key] != "false"]


def test_4_says_in_its_own_words_that_the_acl_file_is_emptied() -> None:
    assert "the file that\n## `acl_file` names is emptied" in CONF_4.read_text(encoding="utf-8")


def test_both_call_the_server_where_it_listens(five: dict[str, Any], four: dict[str, str]) -> None:
    host, port = split_address(Settings().listen)
    url = f"http://{host}:{port}"
    assert five["exhook"]["servers"][0]["url"] == url
    assert four["exhook.server.default.url"] == url


def test_page_quotes_the_lines_of_5() -> None:
    lines = {line.strip() for line in HOCON.read_text(encoding="utf-8").splitlines()}
    blocks = quoted("hocon")
    assert len(blocks) == 6
    strange = [line for block in blocks for line in block.splitlines() if line.strip() not in lines]
    assert not strange


def test_page_quotes_every_setting_of_5(five: dict[str, Any]) -> None:
    said = "".join(quoted("hocon"))
    (floor,) = five["authentication"]
    (server,) = five["exhook"]["servers"]
    # What names the entry, and that it is on, needs no reason.
    (rewrite,) = five["rewrite"]
    for key in {*floor, *five["authorization"], *server, *rewrite} - {"name", "enable"}:
        assert re.search(rf"\b{key} = ", said), key


def test_page_quotes_every_line_of_4(four: dict[str, str]) -> None:
    said = read_properties("".join(quoted("properties")))
    assert said == four


@pytest.mark.parametrize(
    "text", ["a = ", "a = {b = 1", "a = 1\na = 2", "a = [1", "a 1", "a = 1 }", 'a = "x', "a = {b = 1, b = 2}"]
)
def test_reader_refuses_what_is_no_hocon(text: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        read_hocon(text)


def test_reader_reads_what_hocon_means() -> None:
    text = 'a.b = "x y"  # why\na.c = [{d = 1, e = 5s}\n{d = 2}]\nf {g = true}'
    assert read_hocon(text) == {
        "a": {"b": "x y", "c": [{"d": "1", "e": "5s"}, {"d": "2"}]},
        "f": {"g": "true"},
    }

"""Random policy files: valid ones, with names that YAML, terminals and people take for something else."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from stores_under_test import HASH

from store.sync.phrases import moment

ODD = (
    "no", "null", "~", "1e3", "0123", "true", "#", " a ", "a: b", "-", "- a", "?", "&a", "*a", "!t", "%a", "@", "`",
    "é", "日本", "🎉", "\u2028", "\x85", "\ufeff", "x\ty", '"', "'", "\\", "a\nb", "\x01", "\x1b[31m", "\x7f", "[a]",
    "{a}", "a,b", "<<", "=", "2026-01-01", "|", ">", "a" * 200, "${x}", "a #b", "[bold]x[/bold]",
)  # fmt: skip
NAMES = st.sampled_from(["sensors", "gateway", "dash-01", *ODD])
IDS = [one for one in ODD if one.isprintable() and one == one.strip() and len(one) <= 128]
INSTANCES = st.sampled_from(["mqtt-default", "mqtt-prod", "1e3", "no", "0123"])
GROUPS = st.sampled_from(["GID_Sensors", "GID-Gateways", "GID_no-1"])
NOTES = st.sampled_from(["a note", "two\nlines", "# no comment", "tab\there", " x ", "é🎉", "\u2028"])
LEVELS = st.sampled_from(
    ["a", "plant", "", "+", "${clientid}", "x${device}", "$${", "no", "a b", "é", "'", '"', ": ", "\\"]
)
SECONDS = st.integers(min_value=0, max_value=253_402_300_799)


def quoted(text: str) -> str:
    """A YAML scalar in double quotes, everything unusual escaped."""
    return '"' + "".join(char if char.isalnum() and char.isascii() else f"\\U{ord(char):08X}" for char in text) + '"'


def flow(value: Any) -> str:
    """A value as YAML in brackets."""
    if isinstance(value, Mapping):
        return (
            "{"
            + ", ".join(f"{key if key.isidentifier() else quoted(key)}: {flow(one)}" for key, one in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else quoted(value)


@st.composite
def moments(draw: st.DrawFn) -> str:
    """A moment as policies write it."""
    return moment(draw(SECONDS) * 1000 + draw(st.sampled_from([0, 1, 999])))


@st.composite
def common(draw: st.DrawFn, ids: list[str]) -> dict[str, Any]:
    """What every entry may have; each id is used once."""
    entry: dict[str, Any] = {}
    named = draw(st.booleans())
    if ids and named:
        entry["id"] = ids.pop()
    if draw(st.booleans()):
        entry["instance"] = draw(INSTANCES)
    return entry | draw(remarks())


@st.composite
def remarks(draw: st.DrawFn) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if draw(st.integers(0, 3)) == 0:
        entry["note"] = draw(NOTES)
    if draw(st.integers(0, 5)) == 0:
        entry["protect"] = True
    if draw(st.integers(0, 3)) == 0:
        entry["expires"] = draw(moments())
    return entry


@st.composite
def identities(draw: st.DrawFn, ids: list[str]) -> dict[str, Any]:
    entry = draw(common(ids)) | {"username": draw(NAMES)}
    if draw(st.booleans()):
        entry["client_id"] = draw(NAMES)
    elif draw(st.integers(0, 2)) == 0:
        entry["client_ids"] = draw(st.sampled_from([{"prefix": "meter-"}, {"prefix": "no"}, {"group": "GID_Sensors"}]))
    entry["sign_mode"] = draw(st.sampled_from(["origin", "signed", "signed-sha256", "hashed", "external"]))
    if entry["sign_mode"] == "hashed":
        entry["secret"] = {"hash": HASH}
    elif entry["sign_mode"] != "external":
        secrets = [
            {"id": name, "literal": draw(NAMES)} for name in draw(st.sampled_from([["default"], ["no"], ["a", "é"]]))
        ]
        if draw(st.booleans()):
            secrets[-1]["expires"] = draw(moments())
        entry["secrets"] = secrets
    return entry


@st.composite
def topics(draw: st.DrawFn) -> str:
    levels = draw(st.lists(LEVELS, min_size=1, max_size=4))
    if draw(st.booleans()):
        levels.append("#")
    return "/".join(levels) or "a"


@st.composite
def actions(draw: st.DrawFn) -> dict[str, list[str]]:
    """Topics by action, each topic once."""
    found: dict[str, list[str]] = {}
    for topic in draw(st.lists(topics(), min_size=1, max_size=4, unique=True)):
        found.setdefault(draw(st.sampled_from(["publish", "subscribe", "both"])), []).append(topic)
    return found


@st.composite
def blocks(draw: st.DrawFn, ids: list[str]) -> dict[str, Any]:
    kind = draw(st.sampled_from(["username", "client_id", "group", "access_key", "everyone"]))
    whom: Any = {"everyone": True, "group": draw(GROUPS)}.get(kind) or draw(NAMES)
    block = draw(common(ids)) | {kind: whom}
    if draw(st.booleans()):
        block |= draw(actions())
    if len(block.keys() & {"publish", "subscribe", "both"}) == 0 or draw(st.booleans()):
        block["deny"] = draw(actions())
    return block


@st.composite
def blacklisted(draw: st.DrawFn, ids: list[str]) -> dict[str, Any]:
    entry = draw(common(ids)) | {draw(st.sampled_from(["client_id", "username"])): draw(NAMES)}
    return entry | ({"reason": draw(NOTES)} if draw(st.booleans()) else {})


def by_key(*fields: str) -> Any:
    """The identity of an entry, so that a policy has none twice."""
    return lambda entry: tuple(str(entry.get(field, "")) for field in ("instance", *fields))


@st.composite
def documents(draw: st.DrawFn) -> str:
    """The text of a policy file; empty ones among them."""
    ids = list(draw(st.permutations(IDS)))
    default = draw(INSTANCES)
    instances = draw(st.lists(INSTANCES, unique=True, max_size=3))
    sections: dict[str, Any] = {
        "defaults": {"instance": default},
        "instances": {name: draw(instance_settings()) for name in instances},
        "groups": draw(st.lists(GROUPS, unique=True)),
        "identities": draw(st.lists(identities(ids), max_size=4, unique_by=by_key("username", "client_id"))),
        "permissions": draw(
            st.lists(
                blocks(ids), max_size=4, unique_by=by_key("username", "client_id", "group", "access_key", "everyone")
            )
        ),
        "blacklist": draw(st.lists(blacklisted(ids), max_size=3, unique_by=by_key("username", "client_id"))),
    }
    for section in ("identities", "permissions", "blacklist"):
        # An entry that names the default instance must not stand beside one that leaves it out.
        for entry in sections[section]:
            if entry.get("instance") == default:
                entry["instance"] = "mqtt-other"
    if draw(st.booleans()):
        sections["groups"].append({"id": "GID_" + "x" * 60, "instance": "mqtt-other", **draw(remarks())})
    return "".join(f"{name}: {flow(value)}\n" for name, value in sections.items())


@st.composite
def instance_settings(draw: st.DrawFn) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if draw(st.booleans()):
        settings["record_quota"] = draw(st.sampled_from([1000, 10_000]))
    if draw(st.booleans()):
        settings["client_id_rule"] = draw(st.sampled_from(["any", "group"]))
    if draw(st.booleans()):
        settings["pin_client_ids"] = draw(st.booleans())
    if draw(st.booleans()):
        settings["no_match"] = draw(st.sampled_from(["deny", "pass"]))
    if draw(st.booleans()):
        settings["parent_topics"] = draw(
            st.lists(st.sampled_from(["plant-a", "no", "0123", "a b"]), min_size=1, unique=True)
        )
    if draw(st.booleans()):
        settings["note"] = draw(NOTES)
    return settings

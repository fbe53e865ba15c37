"""Topics of EMQX's own rules as permissions write them (``emqx_authz_rule``, EMQX 5)."""

import re
from dataclasses import dataclass
from typing import Final

from store.sync.importing.rules import pattern_of
from store.topics import InvalidTopic

_PLACEHOLDERS: Final = {"username": "${username}", "clientid": "${clientid}", "cert_common_name": "${cn}"}
_TOKEN: Final = re.compile(r"\$\{([^}]*)\}|\$\{")
_OLD: Final = re.compile(r"%[cu]")
_EQ: Final = "eq "


@dataclass(frozen=True, slots=True)
class EmqxTopic:
    """One topic of a rule. Where it cannot be said here, `why` says so."""

    topic: str
    """As a permission writes it; where it cannot be said, all that it could reach."""
    exactly: bool = False
    """``{eq, …}``: the filter itself, not what it covers."""
    why: str = ""
    instead: str = ""
    never: bool = False
    """No client can ask for a topic that it matches."""


def read_topic(text: str, *, exactly: bool = False) -> EmqxTopic:
    """A topic of a rule; ``eq `` before it means the same as ``{eq, …}``."""
    if not exactly and text.startswith(_EQ):
        text, exactly = text[len(_EQ) :], True
    if exactly:
        return _checked(text, text.replace("${", "$${"), exactly=True)
    if old := _OLD.search(text):
        mend = f"write {'${clientid}' if old[0] == '%c' else '${username}'} in a copy of the file, and import that"
        why = f"{old[0]} is a placeholder of EMQX 4, and a text like any other to EMQX 5"
        return EmqxTopic(_before(text, old.start()), why=why, instead=mend)
    for token in _TOKEN.finditer(text):
        if token[1] is not None and token[1] not in _PLACEHOLDERS:
            why = f"the placeholder {token[0]} is not known here"
            known = "known are ${clientid}, ${username}, ${group}, ${device} and ${cn}"
            return EmqxTopic(_before(text, token.start()), why=why, instead=known)
        if token[1] is not None and text[: token.start()].endswith("$"):
            return EmqxTopic(_before(text, token.start()), why="a `$` before a placeholder cannot be written here")
    return _checked(text, _TOKEN.sub(_replacement, text), exactly=False)


def _checked(text: str, topic: str, *, exactly: bool) -> EmqxTopic:
    try:
        pattern_of(topic)
    except InvalidTopic as wrong:
        held = next((token for token in _TOKEN.finditer(text) if token[1] is not None), None)
        if held and not exactly:
            return EmqxTopic(_before(text, held.start()), why=str(wrong), instead="grant the topics one by one")
        return EmqxTopic(topic, why=str(wrong), never=True)
    return EmqxTopic(topic, exactly)


def _replacement(token: re.Match[str]) -> str:
    return "$${" if token[1] is None else _PLACEHOLDERS[token[1]]


def _before(text: str, at: int) -> str:
    """The widest filter of topics that begin as the text does, up to the level of a character."""
    head = text[:at].rpartition("/")[0]
    whole = f"{head}/#" if "/" in text[:at] else "#"
    widest = whole.replace("${", "$${")
    try:
        pattern_of(widest)
    except InvalidTopic:
        return "#"
    return widest

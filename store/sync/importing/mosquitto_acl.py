"""Mosquitto's ``acl_file``: ``user``, ``topic`` and ``pattern`` lines (``security_default.c`` of Mosquitto 2).

A client is asked its own lines first, denials before grants; then the patterns, denials before grants. The first
that matches decides, and denies where none does.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from store.records import Action, Effect, Grantee
from store.sync.findings import InvalidPolicy
from store.sync.importing.first_match import translate
from store.sync.importing.imported import Imported
from store.sync.importing.leftovers import Leftovers
from store.sync.importing.original import Original, Spot, all_of, malformed
from store.sync.importing.rules import RESERVED, Rule, pattern_of
from store.topics import InvalidTopic

_ACCESS: Final = {
    "read": (Action.SUB,),
    "write": (Action.PUB,),
    "readwrite": (Action.PUB, Action.SUB),
    "deny": (),
}
_PLACEHOLDERS: Final = {"%c": "${clientid}", "%u": "${username}", "${": "$${"}
_TOKEN: Final = re.compile(r"%[cu]|\$\{")
_DOLLAR: Final = re.compile(r"\$%[cu]")
_LITERAL: Final = re.compile(r"\$\{")
_DIFFERENCES: Final = (
    (
        "Mosquitto lets a client subscribe to anything, and delivers what its `read` lines allow. Here a SUBSCRIBE "
        "that reaches over the grants, or touches a denial, is refused as a whole."
    ),
    (
        "Mosquitto asks a client's own lines before the patterns, so that its grants stand above a denial by pattern. "
        "Here a denial wins over every grant."
    ),
    (
        "Mosquitto gives nothing by pattern to a client whose id holds + or #, though it could choose another id. "
        "Here it gets nothing by the placeholder of that id, and the rest as every client."
    ),
    "Mosquitto puts a client id with / into a pattern as levels. Here such an id gets nothing by ${clientid}.",
    "Mosquitto: `allow_anonymous true` lets clients in without a user name. Here nobody is let in without an identity.",
)
_UNWILDCARDED: Final = re.compile(r"[^/]\+|\+[^/]|#.|[^/]#", re.DOTALL)
"""A wildcard that shares its level, or ``#`` before the end."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A ``topic`` or ``pattern`` line; no access means ``deny``."""

    at: Spot
    said: str
    access: tuple[Action, ...]
    topic: str
    user: str | None = None
    """None for a client without a user name, where it is no pattern."""
    pattern: bool = False


@dataclass(slots=True)
class _Reader:
    """One file, line by line."""

    user: str | None = None
    found: list[_Line] = field(default_factory=list)

    def read(self, at: Spot, line: str) -> None:
        """Take in one line, as Mosquitto reads it: words are parted by blanks, tabs belong to them."""
        text = line.rstrip()
        word, _, rest = text.lstrip(" ").partition(" ")
        if text.startswith("#") or not word:
            return
        if word == "user":
            self.user = rest.strip()
            if not self.user:
                raise malformed(at.file, at.line, 1, "no user name; write user NAME")
        elif word in ("topic", "pattern"):
            self._rule(at, text.strip(), rest.lstrip(" "), pattern=word == "pattern")
        else:
            raise malformed(at.file, at.line, 1, "no line of an acl_file; write user, topic or pattern, and a blank")

    def _rule(self, at: Spot, said: str, rest: str, *, pattern: bool) -> None:
        word, parted, topic = rest.partition(" ")
        topic = topic.strip()
        if not word:
            raise malformed(at.file, at.line, 1, "no topic; write topic read a/b")
        if not parted or not topic:
            word, topic = "readwrite", word
        if word not in _ACCESS:
            raise malformed(at.file, at.line, 1, f"{word!r} is no access; write read, write, readwrite or deny")
        if _UNWILDCARDED.search(topic):
            message = f"{topic!r} is no filter, + and # stand alone in their level, and # at the end"
            raise malformed(at.file, at.line, 1, message)
        self.found.append(_Line(at, said, _ACCESS[word], topic, None if pattern else self.user, pattern))


def import_acl(original: Original) -> Imported:
    """The permissions that an ``acl_file`` stands for.

    Raises:
        InvalidPolicy: with all lines that Mosquitto would not load either.
    """
    reader = _Reader()
    faults: list[InvalidPolicy] = []
    for at, line in original.lines():
        try:
            reader.read(at, line)
        except InvalidPolicy as wrong:
            faults.append(wrong)
    if faults:
        raise all_of(faults)
    made = Imported()
    rules = [rule for line in _in_order(reader.found) for rule in _rules(line, made.leftovers)]
    made.add_grants(translate(rules, made.leftovers))
    for sentence in _DIFFERENCES:
        made.leftovers.differs(sentence)
    return made


def _in_order(lines: Sequence[_Line]) -> list[_Line]:
    """As Mosquitto asks them."""
    return sorted(lines, key=lambda line: (line.pattern, bool(line.access)))


def _rules(line: _Line, leftovers: Leftovers) -> list[Rule]:
    if line.user is None and not line.pattern:
        why = "it stands before the first `user` line, and is for clients without a user name, whom nobody lets in here"
        if line.access:
            leftovers.left_out(line.at, line.said, why, "give them a user name, and grant it to that")
        else:
            leftovers.note(line.at, line.said, why)
        return []
    widened = ""
    try:
        topic = _topic(line)
    except InvalidTopic as wrong:
        if line.access:
            leftovers.left_out(line.at, line.said, str(wrong), "grant the topics by other filters")
            return []
        if line.topic.partition("/")[0] in RESERVED:
            leftovers.note(line.at, line.said, f"nobody is granted anything there: {wrong}")
            return []
        topic, widened = "#", f"denied as #, for {wrong}"
    return [
        Rule(
            effect=Effect.ALLOW if line.access else Effect.DENY,
            grantee=Grantee.ALL if line.pattern else Grantee.USER,
            name=line.user or "",
            action=action,
            topic=topic,
            at=line.at,
            said=line.said,
            beyond=bool(widened),
            widened=widened,
        )
        for action in line.access or (Action.PUB, Action.SUB)
    ]


def _topic(line: _Line) -> str:
    """The topic as a permission writes it.

    Raises:
        InvalidTopic: no permission can say it.
    """
    if line.pattern and _DOLLAR.search(line.topic):
        raise InvalidTopic("a `$` before a placeholder cannot be written here")
    tokens = _TOKEN if line.pattern else _LITERAL
    topic = tokens.sub(lambda token: _PLACEHOLDERS[token[0]], line.topic)
    pattern_of(topic)
    return topic

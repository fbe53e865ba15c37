"""An import as a policy file that a person would like to read."""

import io
import re
from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from store.records import Action, Effect, Grantee
from store.sync.importing.imported import Blocked, Imported, ImportedIdentity
from store.sync.importing.leftovers import Leftovers, Sort
from store.sync.importing.rules import Rule
from store.sync.printable import printable

_ACTIONS: Final = {Action.PUB: "publish", Action.SUB: "subscribe", Action.PUB_SUB: "both"}
_GRANTEES: Final = {Grantee.USER: "username", Grantee.CLIENT: "client_id"}
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]*")
_OTHERS_MEANING: Final = re.compile(r"null|true|false|yes|no|on|off|y|n", re.IGNORECASE)
"""Words that some YAML readers take for something else than text."""
_WIDTH: Final = 110
_BATCH: Final = 1000
_HEADINGS: Final = {
    Sort.LEFT_OUT: "Left out: what these lines allowed, or whom they let in, is not in this policy.",
    Sort.STRICTER: "Stricter: these lines are in this policy, which allows less than they did.",
    Sort.NOTE: "Not written, for nothing changes without them:",
}

Item = dict[str, Any]


def policy_text(imported: Imported, *, origin: str, source: str, instance: str) -> str:
    """The policy file. `origin` says, in a few words, what it was made from."""
    return _Writing(imported, origin, source, instance).text()


class _Writing:
    """One file on its way."""

    def __init__(self, imported: Imported, origin: str, source: str, instance: str) -> None:
        self._imported = imported
        self._origin = origin
        self._header = {
            "format": "exhook/v1",
            "source": _text(source),
            "defaults": _flow({"instance": _text(instance)}),
        }
        self._stream = io.StringIO()
        self._yaml = YAML()
        self._yaml.width = 2**31
        self._yaml.indent(mapping=2, sequence=4, offset=2)

    def text(self) -> str:
        made = self._imported
        self._comment("yaml-language-server: $schema=policy.schema.json")
        self._comment(f"Imported from {self._origin}.")
        if summary := made.leftovers.summary():
            self._comment(f"Not all of it could be carried over ({summary}): see the end of this file.")
        self._dump(self._header)
        if made.identities:
            self._begin("identities")
            self._identities(made.identities)
        blocks = _blocks(made.allows, made.denies)
        if blocks:
            self._begin("permissions")
            for key, rules in blocks.items():
                self._block(rules, made.comments.get(key, ""))
        if made.blacklist:
            self._begin("blacklist")
            self._dump([_blocked(one) for one in made.blacklist])
        self._remarks(made.leftovers)
        return self._stream.getvalue()

    def _identities(self, identities: Iterable[ImportedIdentity]) -> None:
        batch: list[Item] = []
        for one in identities:
            if batch and (one.comment or len(batch) == _BATCH):
                self._dump(batch)
                batch = []
            if one.comment:
                self._comment(one.comment, "  ")
            batch.append(_identity(one))
        self._dump(batch)

    def _block(self, rules: Sequence[Rule], comment: str) -> None:
        self._comment(f"{comment}; {_spots(rules)}" if comment else _spots(rules), "  ")
        first = rules[0]
        item: Item = {"everyone": True}
        if first.grantee is not Grantee.ALL:
            item = {_GRANTEES[first.grantee]: _text(first.name)}
        item |= _topics(rules, Effect.ALLOW)
        if denied := _topics(rules, Effect.DENY):
            item["deny"] = denied
        self._dump([item])

    def _remarks(self, leftovers: Leftovers) -> None:
        for sort, heading in _HEADINGS.items():
            if found := leftovers.of(sort):
                self._stream.write("\n")
                self._comment(heading)
                for one in found:
                    self._comment(str(one).replace(f": {sort}: ", ": ", 1), "", "- ", "  ")
        if leftovers.differences:
            self._stream.write("\n")
            self._comment("What differs in meaning:")
            for sentence in leftovers.differences:
                self._comment(sentence, "", "- ", "  ")

    def _begin(self, section: str) -> None:
        self._stream.write(f"\n{section}:\n")

    def _comment(self, text: str, indent: str = "", first: str = "", rest: str = "") -> None:
        # A stranger's text must not end the comment: no line break is left in it.
        for line in wrap(
            printable(text),
            _WIDTH,
            initial_indent=f"{indent}# {first}",
            subsequent_indent=f"{indent}# {rest}",
            break_long_words=False,
            break_on_hyphens=False,
        ):
            self._stream.write(f"{line}\n")

    def _dump(self, value: Any) -> None:
        self._yaml.dump(value, self._stream)


def _blocks(allows: Iterable[Rule], denies: Iterable[Rule]) -> dict[tuple[Grantee, str], list[Rule]]:
    """The rules of each grantee, in order of the first one."""
    blocks: dict[tuple[Grantee, str], list[Rule]] = {}
    for rule in (*allows, *denies):
        blocks.setdefault(rule.key, []).append(rule)
    return blocks


def _topics(rules: Iterable[Rule], effect: Effect) -> Item:
    """Topics by action; one that stands under both actions becomes one for both."""
    actions: dict[str, set[Action]] = {}
    for rule in rules:
        if rule.effect is effect:
            actions.setdefault(rule.topic, set()).add(rule.action)
    found: dict[str, list[str]] = {word: [] for word in _ACTIONS.values()}
    for topic, named in actions.items():
        found[_ACTIONS[Action.PUB_SUB if len(named) > 1 else named.pop()]].append(topic)
    return {word: _list(topics) for word, topics in found.items() if topics}


def _list(topics: Sequence[str]) -> CommentedSeq:
    """In one line if it fits, else a line each."""
    made = CommentedSeq(DoubleQuotedScalarString(topic) for topic in topics)
    if sum(len(topic) + 4 for topic in topics) + 16 <= _WIDTH:
        made.fa.set_flow_style()
    return made


def _identity(identity: ImportedIdentity) -> Item:
    item: Item = {"username": _text(identity.username)}
    if identity.client_id:
        item["client_id"] = _text(identity.client_id)
    item["secret"] = _flow({"hash": DoubleQuotedScalarString(identity.hash)})
    if identity.note:
        item["note"] = _text(printable(identity.note))
    return item


def _blocked(blocked: Blocked) -> Item:
    return {"username": _text(blocked.username), "reason": _text(blocked.reason)}


def _flow(item: Item) -> CommentedMap:
    """In braces, in the line of its key."""
    made = CommentedMap(item)
    made.fa.set_flow_style()
    return made


def _spots(rules: Iterable[Rule]) -> str:
    """``acl:4-6,9``: the lines that the rules come from."""
    lines: dict[str, list[int]] = {}
    for spot in sorted({rule.at for rule in rules}):
        lines.setdefault(spot.file, []).append(spot.line)
    return "; ".join(f"{file}:{_ranges(numbers)}" for file, numbers in lines.items())


def _ranges(numbers: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _text(text: str) -> str:
    """Quoted, unless it reads as text to everybody."""
    plain = _PLAIN.fullmatch(text) and not _OTHERS_MEANING.fullmatch(text)
    return text if plain else DoubleQuotedScalarString(text)

"""Reads policy tests: fixtures of all files first, then cases, which become one expectation for each request."""

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from store.account_names import Mode
from store.account_records import TokenActions, parse_resource
from store.names import InvalidRecord
from store.records import Action
from store.sync import case_entry as schema
from store.sync.case import AskedToken, Asker, Case, Expectation
from store.sync.entries import Scope
from store.sync.placed import Placed
from store.sync.sections import listed
from store.sync.source import Items, Located, Mapping, Text, Value
from store.sync.validation import validate

_ACTIONS: Final = {"publish": (Action.PUB,), "subscribe": (Action.SUB,), "both": (Action.PUB, Action.SUB)}
_PLACEHOLDER: Final = re.compile(r"\$\$\{|\$\{([^}]*)\}|\$\{")
_MOST_COMPARED: Final = 10_000
"""Names that a misspelt one is compared with."""

_BY_TOKEN: Final = "{access_key: app-1, token: {actions: R, resources: [a]}, client_id: c1}"  # noqa: S105 - an example without a secret
_NONE: Final = Items()

T = TypeVar("T")


class Cases:
    """The fixtures and tests of all files."""

    def __init__(self) -> None:
        self._clients: dict[str, Placed[Asker | None]] = {}
        self._topics: dict[str, Placed[tuple[str, ...]]] = {}
        self._cases: dict[str, Placed[Case]] = {}
        self._rules: list[tuple[str, Located, Scope]] = []

    @property
    def cases(self) -> tuple[Case, ...]:
        return tuple(placed.item for placed in self._cases.values())

    def read_fixtures(self, root: Mapping, scope: Scope) -> None:
        """Take the fixtures of one file; each name is given once in the policy."""
        if "fixtures" not in root:
            return
        value = root["fixtures"]
        entry = validate(schema.Fixtures, value, scope.error)
        for name in _names(value, "clients"):
            # What is wrong is there all the same: tests that name it have no mistake of their own.
            asker = _asker(entry.clients[name], name, name, scope) if entry else None
            self._add(self._clients, "client", Placed(asker, scope.file, name), name, scope)
        for name in _names(value, "topics"):
            topics = tuple(entry.topics[name]) if entry else ()
            self._add(self._topics, "list of topics", Placed(topics, scope.file, name), name, scope)

    def read_cases(self, root: Mapping, scope: Scope) -> None:
        """Take the tests of one file, once the fixtures of all are known."""
        for value in listed(root, "tests", scope):
            entry = validate(schema.CaseEntry, value, scope.error)
            if entry and isinstance(value, Mapping):
                found = tuple(_Reading(self._clients, self._topics, self._rules, scope).expectations(entry, value))
                case = Case(
                    name=entry.name, file=scope.file, line=value.line, at_ms=entry.at, expectations=found
                )  # fmt: skip
                self._add(self._cases, "test", Placed(case, scope.file, value["name"]), entry.name, scope)

    def check_rules(self, names: Callable[[], Iterator[str]]) -> None:
        """Report rules that no record is called; `names` gives what records are called."""
        if not self._rules:
            return
        wanted = {rule for rule, _, _ in self._rules}
        known: set[str] = set()
        for name in names():
            if name in wanted or len(known) < _MOST_COMPARED:
                known.add(name)
        for rule, at, scope in self._rules:
            if rule not in known:
                scope.error(at, _unknown("rule", rule, known, "name an entry's `id`"))

    @staticmethod
    def _add(known: dict[str, Placed[T]], noun: str, placed: Placed[T], name: str, scope: Scope) -> None:
        first = known.setdefault(str(name), placed)
        if first is not placed:
            message = f"the {noun} {str(name)!r} is given already, at {first.where}; choose another name"
            scope.error(placed.at, message)


class _Reading:
    """One test, on its way to expectations."""

    def __init__(
        self,
        clients: dict[str, Placed[Asker | None]],
        topics: dict[str, Placed[tuple[str, ...]]],
        rules: list[tuple[str, Located, Scope]],
        scope: Scope,
    ) -> None:
        self._clients = clients
        self._topics = topics
        self._rules = rules
        self._scope = scope

    def expectations(self, entry: Any, value: Mapping) -> Iterator[Expectation]:
        """One for each client, action and topic."""
        if "matrix" in value:
            if others := [key for key in ("as", "can", "cannot") if key in value]:
                message = f"`{others[0]}` beside `matrix`, which says it all; make two tests of it"
                self._scope.error(value.key_at(others[0]), message)
            yield from self._matrix(entry.matrix, value["matrix"])
            return
        if "as" not in value:
            self._scope.error(value, f"`as` is missing: nobody asks; write {schema.ClientEntry.example}")
            return
        if not any(side and side.model_fields_set for side in (entry.can, entry.cannot)):
            self._scope.error(value, f"a test that expects nothing; write `can` or `cannot`: {entry.example}")
            return
        askers = self._askers(getattr(entry, "as"), value["as"])
        for key in ("can", "cannot"):
            side, at = getattr(entry, key), value.get(key)
            if side and isinstance(at, Mapping):
                yield from self._side(side, at, askers, allow=key == "can")

    def _askers(self, asking: Sequence[schema.AskingEntry], value: Value) -> list[Asker]:
        found = []
        for one, at in zip(asking, _items(value), strict=True):
            if one.client and one.model_fields_set != {"client"}:
                self._scope.error(at, "a client of `fixtures` and more; name it alone, or write all of it here")
            elif one.client:
                found += self._known(one.client, at)
            elif not one.client_id:
                self._scope.error(at, f"`client_id` is missing; write {one.example}, or name a client of `fixtures`")
            elif asker := _asker(one, one.client_id, at, self._scope):
                found.append(asker)
        return found

    def _known(self, name: str, at: Located) -> list[Asker]:
        placed = self._clients.get(str(name))
        if placed is None:
            self._scope.error(at, _unknown("client", name, self._clients, "add it to `fixtures.clients`"))
        return [placed.item] if placed and placed.item else []

    def _side(
        self, side: schema.Can | schema.Cannot, value: Mapping, askers: Sequence[Asker], *, allow: bool
    ) -> Iterator[Expectation]:
        if side.connect is not None:
            at = value["connect"]
            how = self._how(side.connect, at)
            for asker in askers:
                yield Expectation(asker=asker, action=None, topic="", allow=allow, line=at.line, **how)
        yield from self._requests(side, value, askers, allow=allow)

    def _requests(
        self,
        side: schema.Can | schema.Cannot | schema.RequestEntry,
        value: Mapping,
        askers: Sequence[Asker],
        *,
        allow: bool,
        line: int = 0,
    ) -> Iterator[Expectation]:
        for key, actions in _ACTIONS.items():
            for asked, at in zip(getattr(side, key) or (), _items(value.get(key, _NONE)), strict=True):
                how = self._how(asked, at)
                for topic in self._named_topics(asked, at):
                    for asker in askers:
                        filled = self._filled(topic, asker, at)
                        for action in actions if filled is not None else ():
                            place = line or at.line
                            yield Expectation(
                                asker=asker, action=action, topic=filled or "", allow=allow, line=place, **how
                            )

    def _how(self, said: Any, at: Value) -> dict[str, str]:
        """The rule and the reason that are expected."""
        rule, reason = getattr(said, "rule", ""), getattr(said, "reason", None)
        if rule:
            self._rules.append((rule, at["rule"] if isinstance(at, Mapping) else at, self._scope))
        return {"rule": rule, "reason": reason or ""}

    def _named_topics(self, asked: schema.AskedTopic, at: Value) -> Sequence[str]:
        if len({"topic", "filter", "topics"} & asked.model_fields_set) != 1:
            self._scope.error(at, "one of topic, filter or topics is wanted; make each its own entry")
            return ()
        if not asked.topics:
            return (asked.topic or asked.filter,)
        placed = self._topics.get(str(asked.topics))
        if placed is None:
            self._scope.error(at, _unknown("list of topics", asked.topics, self._topics, "add it to `fixtures.topics`"))
        return placed.item if placed else ()

    def _filled(self, topic: str, asker: Asker, at: Located) -> str | None:
        """The topic with what the client's placeholders stand for; `$${` is a literal."""
        if "${" not in topic:
            return topic
        values = asker.placeholder_values()
        for found in _PLACEHOLDER.finditer(topic):
            if found[0] != "$${" and not values.get(found[1] or ""):
                known = ", ".join(f"${{{name}}}" for name in values)
                mend = f"the client {asker.name!r} has none" if found[1] in values else f"known are {known}"
                self._scope.error(at, f"{topic!r} holds {found[0]!r}, which stands for nothing; {mend}")
                return None
        return _PLACEHOLDER.sub(lambda found: "${" if found[0] == "$${" else values[found[1]], topic)

    def _matrix(self, matrix: schema.Matrix, value: Value) -> Iterator[Expectation]:
        if not (isinstance(value, Mapping) and matrix.requests and matrix.allowed):
            self._scope.error(value, f"a matrix without rows or without columns; write {schema.Matrix.example}")
            return
        columns, rows = value["requests"], value["allowed"]
        if not (isinstance(columns, Mapping) and isinstance(rows, Mapping)):
            return
        for name, at in columns.items():
            if not (isinstance(at, Mapping) and at):
                message = f"the request {str(name)!r} asks for nothing; write {schema.RequestEntry.example}"
                self._scope.error(columns.key_at(name), message)
        for client, allowed in rows.items():
            askers = self._known(client, rows.key_at(client))
            granted = self._columns(allowed, columns)
            line = rows.key_at(client).line
            # Each client of a matrix gets in, else its refusals would say nothing.
            for asker in askers:
                yield Expectation(asker=asker, action=None, topic="", allow=True, line=line)
            for name, request in matrix.requests.items():
                at = columns[name]
                if isinstance(at, Mapping):
                    yield from self._requests(request, at, askers, allow=str(name) in granted, line=line)

    def _columns(self, allowed: Value, columns: Mapping) -> set[str]:
        granted = set()
        for name in allowed if isinstance(allowed, Items) else ():
            if isinstance(name, Text) and name not in columns:
                self._scope.error(name, _unknown("request", name, columns, "add it to `requests`"))
            granted.add(str(name))
        return granted


def _asker(entry: schema.ClientEntry, name: str, at: Located, scope: Scope) -> Asker | None:
    """The client of an entry; None where it does not say how it connects."""
    if sum(map(bool, (entry.username, entry.access_key, entry.device_access_key_id))) > 1:
        scope.error(at, "two of username, access_key and device_access_key_id; a client connects by one of them")
        return None
    if entry.token and not entry.access_key:
        scope.error(at, f"`access_key` is missing, which issued the token; write {_BY_TOKEN}")
        return None
    token = None
    if entry.token:
        token = AskedToken(actions=TokenActions[entry.token.actions], resources=tuple(entry.token.resources))
        try:
            for resource in token.resources:
                parse_resource(resource)
        except InvalidRecord as wrong:
            scope.error(at, str(wrong))
            return None
    account = None
    if entry.access_key:
        account = (Mode.TOKEN if token else Mode.SIGNATURE, entry.access_key)
    elif entry.device_access_key_id:
        account = (Mode.DEVICE_CREDENTIAL, entry.device_access_key_id)
    return Asker(
        account=account,
        token=token,
        name=name,
        username=entry.username,
        client_id=entry.client_id,
        instance=entry.instance,
        cn=entry.cn,
        address=entry.address,
        external=entry.external,
    )


def _names(value: Value, section: str) -> Sequence[Text]:
    """The keys of a section of `fixtures`, with their places."""
    within = value.get(section) if isinstance(value, Mapping) else None
    return [name for name in within if isinstance(name, Text)] if isinstance(within, Mapping) else []


def _items(value: Value) -> Sequence[Value]:
    return list(value) if isinstance(value, Items) else [value]


def _unknown(noun: str, name: str, known: Any, mend: str) -> str:
    close = difflib.get_close_matches(str(name), [str(one) for one in known], n=1)
    return f"there is no {noun} {str(name)!r}; " + (f"did you mean {close[0]!r}?" if close else mend)

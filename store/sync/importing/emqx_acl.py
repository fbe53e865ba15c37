"""EMQX's ``acl.conf``: Erlang terms, of which the first that matches decides."""

import re
from collections.abc import Sequence
from typing import Final

from store.records import Action, Effect, Grantee
from store.sync.findings import InvalidPolicy
from store.sync.importing import emqx_rules
from store.sync.importing.emqx_rules import EVERYONE, EmqxRule, Key, Who
from store.sync.importing.emqx_topics import EmqxTopic, read_topic
from store.sync.importing.erlang import Term, read_terms
from store.sync.importing.first_match import translate
from store.sync.importing.imported import Imported
from store.sync.importing.original import Original, all_of

_EXAMPLE: Final = '{allow, {username, "anna"}, publish, ["a/#"]}.'
_EFFECTS: Final = {"allow": Effect.ALLOW, "deny": Effect.DENY}
_NAMED: Final = {
    "user": Grantee.USER,
    "username": Grantee.USER,
    "client": Grantee.CLIENT,
    "clientid": Grantee.CLIENT,
}
_NOUNS: Final = {Grantee.USER: "user names", Grantee.CLIENT: "client ids"}
_WHOLE: Final = re.compile(r"\^([A-Za-z0-9_@:/ -]+)\$")
"""A regular expression that one name matches. (PCRE's ``$`` lets a line break at the end through, too.)"""
_ALL_QOS: Final = frozenset({"0", "1", "2"})
_SHORT: Final = 2
_LONG: Final = 4


def import_acl(originals: Sequence[Original]) -> Imported:
    """The permissions that ``acl.conf`` files stand for; several are read as one, in their order.

    Raises:
        InvalidPolicy: with all mistakes that EMQX would not load either.
    """
    faults: list[InvalidPolicy] = []
    found: list[EmqxRule] = []
    for original in originals:
        try:
            terms = list(read_terms(original))
        except InvalidPolicy as wrong:
            faults.append(wrong)
            continue
        for term in terms:
            try:
                found.append(_rule(term, original))
            except InvalidPolicy as wrong:
                faults.append(wrong)
    if faults:
        raise all_of(faults)
    made = Imported()
    made.add_grants(translate(list(emqx_rules.rules_of(found, made.leftovers)), made.leftovers))
    emqx_rules.tell_differences(made.leftovers)
    return made


def _rule(term: Term, original: Original) -> EmqxRule:
    parts = term.items
    said = original.text[term.start : term.end]
    if term.kind != "tuple" or len(parts) not in (_SHORT, _LONG) or not parts[0].is_atom(*_EFFECTS):
        raise original.fault(term.start, f"no rule; write {_EXAMPLE}")
    effect = _EFFECTS[parts[0].text]
    at = original.spot(term.start)
    if len(parts) == _SHORT:
        if not parts[1].is_atom("all"):
            raise original.fault(parts[1].start, "a rule of two parts is {allow, all} or {deny, all}")
        return EmqxRule(effect, Who((EVERYONE,)), emqx_rules.ACTIONS["all"], False, (EmqxTopic("#"),), at, said)
    actions, conditional = _action(parts[2], original)
    if parts[3].kind != "list":
        raise original.fault(parts[3].start, 'topics are a list; write ["a/#", {eq, "b/+"}]')
    topics = tuple(_topic(one, original) for one in parts[3].items)
    return EmqxRule(effect, _who(parts[1], original), actions, conditional, topics, at, said)


def _who(term: Term, original: Original) -> Who:
    if term.is_atom("all"):
        return Who((EVERYONE,))
    if term.kind != "tuple" or len(term.items) < _SHORT or term.items[0].kind != "atom":
        raise original.fault(term.start, 'no condition; write all, {username, "anna"} or {clientid, "c1"}')
    kind, value = term.items[:_SHORT]
    if kind.text in _NAMED:
        return _named(_NAMED[kind.text], value, original)
    if kind.text in ("and", "or") and value.kind == "list":
        members = [_who(one, original) for one in value.items]
        return _any(members) if kind.text == "or" else _both(members)
    said = original.text[term.start : term.end]
    if kind.text in ("ipaddr", "ipaddrs"):
        why = f"a rule by address ({said}) has no counterpart here"
        return Who((), (EVERYONE,), why, "give the clients there a user name of their own, and grant it to that")
    return Who((), (EVERYONE,), f"the condition {said} is not known here", "grant it to user names or client ids")


def _named(grantee: Grantee, value: Term, original: Original) -> Who:
    if value.kind == "string":
        return Who(((grantee, value.text),))
    items = value.items
    if value.kind == "tuple" and len(items) == _SHORT and items[0].is_atom("re") and items[1].kind == "string":
        if found := _WHOLE.fullmatch(items[1].text):
            return Who(((grantee, found[1]),))
        why = f"a regular expression on {_NOUNS[grantee]} has no counterpart here"
        return Who((), (EVERYONE,), why, "name them one by one, or put them into a group (GID_x@@@device)")
    raise original.fault(value.start, 'no name; write "anna", or {re, "^anna"}')


def _any(members: Sequence[Who]) -> Who:
    exact = dict.fromkeys(key for one in members for key in one.exact)
    loose = dict.fromkeys(key for one in members for key in one.loose)
    whys = dict.fromkeys(one.why for one in members if one.why)
    instead = dict.fromkeys(one.instead for one in members if one.instead)
    return Who(tuple(exact), tuple(loose), "; ".join(whys), "; ".join(instead))


def _both(members: Sequence[Who]) -> Who:
    """What holds of all: said exactly where one condition is left once `all` is taken away."""
    rest = [one for one in dict.fromkeys(members) if one.exact != (EVERYONE,)]
    if not rest:
        return Who((EVERYONE,))
    if len(rest) == 1:
        return rest[0]
    named: list[tuple[Key, ...]] = [one.exact + one.loose for one in rest]
    narrow = min(named, key=lambda keys: (EVERYONE in keys, len(keys)))
    why = "several conditions at once have no counterpart here"
    return Who((), narrow, why, "give a client with its own identity (username and client_id) the grant")


def _action(term: Term, original: Original) -> tuple[tuple[Action, ...], bool]:
    """The actions, and whether there are conditions on them."""
    if term.is_atom(*emqx_rules.ACTIONS):
        return emqx_rules.ACTIONS[term.text], False
    items = term.items
    if (
        term.kind == "tuple"
        and len(items) == _SHORT
        and items[0].is_atom(*emqx_rules.ACTIONS)
        and items[1].kind == "list"
    ):
        return emqx_rules.ACTIONS[items[0].text], not _is_unconditional(items[1].items)
    raise original.fault(term.start, "no action; write publish, subscribe or all")


def _is_unconditional(options: Sequence[Term]) -> bool:
    """Whether options let every QoS and both kinds of retain through."""
    qos: set[str] = set()
    for option in options:
        if option.kind != "tuple" or len(option.items) != _SHORT:
            return False
        name, value = option.items
        if name.is_atom("qos"):
            qos |= {one.text for one in (value.items if value.kind == "list" else (value,))}
        elif not (name.is_atom("retain") and value.is_atom("all")):
            return False
    return not qos or qos == _ALL_QOS


def _topic(term: Term, original: Original) -> EmqxTopic:
    if term.kind == "string":
        return read_topic(term.text)
    items = term.items
    if term.kind == "tuple" and len(items) == _SHORT and items[0].is_atom("eq") and items[1].kind == "string":
        return read_topic(items[1].text, exactly=True)
    raise original.fault(term.start, 'no topic; write "a/#", or {eq, "a/#"}')

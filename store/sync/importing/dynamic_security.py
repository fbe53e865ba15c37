"""The file of Mosquitto's dynamic security plugin: clients, groups, roles and defaults, as JSON."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from store.records import Action, Effect, Grantee
from store.sync.importing import dynamic_roles as roles_of
from store.sync.importing.dynamic_roles import Held, Role
from store.sync.importing.first_match import Grants, translate
from store.sync.importing.imported import Blocked, Imported, ImportedIdentity
from store.sync.importing.located_json import Json, read_json
from store.sync.importing.original import Original
from store.sync.importing.rules import Rule, intersection, overlaps_here, swallows, written
from store.sync.phrases import some
from store.sync.printable import printable
from store.topics import levels_cover

_DEFAULTS: Final = "defaultACLAccess"
_KEYS: Final = ("clients", "groups", "roles", _DEFAULTS)
_ITERATIONS: Final = 0
_MOST: Final = 20
_NEW_PASSWORD: Final = "give the user a new password: `exhook-sync hash` makes its line"  # noqa: S105 - a sentence
_DIFFERENCES: Final = (
    (
        "Dynamic security: the first entry that matches decides, by priority. Here a denial wins over every grant; "
        "the policy is written so that nobody may do more than before."
    ),
    (
        "Dynamic security asks at each delivery (publishClientReceive). Here a SUBSCRIBE is decided, as a whole: one "
        "that touches what may not be received is refused."
    ),
    (
        "Dynamic security binds a client to its clientid. Here that client id is its alone, besides: nobody else may "
        "connect with it."
    ),
    "Dynamic security 2.0 lets # subscribe to $SYS/#. Here topics that begin with $ are granted by name alone.",
    "Dynamic security 2.0 reads $share/GROUP/a as three levels. Here it is decided as a, and a grant of a is enough.",
    "Roles and groups are written out, client by client.",
)


def import_dynamic_security(original: Original) -> Imported:
    """The identities, permissions and blacklist entries that the file stands for.

    Raises:
        InvalidPolicy: not JSON, or not the plugin's file; a user name given twice.
    """
    root = read_json(original)
    if not isinstance(root.value, dict) or not any(root.find(key).value is not None for key in _KEYS):
        raise original.fault(root.at, f"no file of dynamic security; it is an object with {', '.join(_KEYS)}")
    return _Import(root).run()


class _Import:
    """One file on its way."""

    def __init__(self, root: Json) -> None:
        self._root = root
        self._made = Imported()
        self._left = self._made.leftovers
        self._roles = roles_of.read_roles(root.find("roles"), self._left)
        self._used: set[str] = set()

    def run(self) -> Imported:
        clients: dict[str, Json] = {}
        for client in self._root.find("clients").objects():
            name = client.find("username").text()
            if not name:
                self._left.note(client.spot, "a client without a user name", "Mosquitto passes over it, too")
            elif name in clients:
                first = clients[name].spot
                raise client.original.fault(client.at, f"the client {name!r} is given twice, first at {first}")
            else:
                clients[name] = client
        groups = self._groups()
        for name, client in clients.items():
            self._client(name, client, groups.get(name, []))
        self._tell_the_rest()
        return self._made

    def _groups(self) -> dict[str, list[tuple[str, Json]]]:
        """The groups of each client, in the order in which they are asked."""
        found: dict[str, list[tuple[int, str, Json]]] = {}
        for group in self._root.find("groups").objects():
            name = group.find("groupname").text()
            members = list(group.find("clients").objects())
            if not members:
                self._left.note(group.spot, f"group {name}", "nobody is in it")
            for member in members:
                priority = member.find("priority").number(-1)
                found.setdefault(member.find("username").text(), []).append((priority, name, group))
        return {
            username: [(name, group) for _, name, group in sorted(groups, key=lambda one: -one[0])]
            for username, groups in found.items()
        }

    def _client(self, name: str, client: Json, groups: Sequence[tuple[str, Json]]) -> None:
        self._identity(name, client)
        held = Held(name)
        own = self._held_roles(client)
        held.roles += own
        for _, group in groups:
            held.roles += [role for role in self._held_roles(group) if role not in held.roles]
        parts = [f"roles {some([role.name for role in own], _MOST)}"] if own else []
        parts += [f"groups {some([group for group, _ in groups], _MOST)}"] if groups else []
        self._made.comments[Grantee.USER, name] = "; ".join(parts)
        self._made.add_grants(self._published(held))
        self._made.add_grants(self._subscribed(held))
        if client.find("disabled").true():
            self._made.blacklist.append(Blocked(username=name, reason="disabled in dynamic security"))

    def _identity(self, name: str, client: Json) -> None:
        texts = [client.find(key).text() for key in ("textname", "textdescription")]
        hash_ = client.find("encoded_password").text()
        if not hash_:
            parts = [str(client.find("iterations").number(_ITERATIONS)), client.find("salt").text()]
            hash_ = "$".join(["", "7", *parts, client.find("password").text()])
        if not client.find("password").text() and not client.find("encoded_password").text():
            why = "it has no password"
            self._left.left_out(client.spot, f"client {name!r}", why, _NEW_PASSWORD)
            return
        identity = ImportedIdentity(
            username=name,
            client_id=client.find("clientid").text(),
            hash=hash_,
            note=printable("; ".join(text for text in texts if text)),
        )
        self._made.add_identity(identity, client.spot, _NEW_PASSWORD)

    def _held_roles(self, holder: Json) -> list[Role]:
        found: list[Role] = []
        for entry in roles_of.by_priority(list(holder.find("roles").objects())):
            name = entry.find("rolename").text()
            role = self._roles.get(name)
            if role is None:
                self._left.note(entry.spot, f"role {name}", "there is no such role")
            else:
                self._used.add(name)
                found.append(role)
        return found

    def _published(self, held: Held) -> Grants:
        rules = [*roles_of.send_rules(held, self._left), *self._default(held, roles_of.SEND, Action.PUB)]
        return translate(rules, self._left, held.username)

    def _subscribed(self, held: Held) -> Grants:
        """What may be subscribed to, and be received as well."""
        rules = [*roles_of.subscribe_rules(held, self._left), *self._default(held, "subscribe", Action.SUB)]
        asked = translate(rules, self._left, held.username)
        rules = [*roles_of.receive_rules(held, self._left), *self._default(held, roles_of.RECEIVE, Action.SUB)]
        received = translate(rules, self._left, held.username)
        default = any(rule.beyond for rule in received.allows)
        allows = [
            part
            for rule in asked.allows
            for part in ([rule] if default and not _controls(rule) else self._received(rule, received, held))
        ]
        kept = [rule for rule in allows if self._may_be_received(rule, received.denies, held)]
        return Grants(tuple(kept), (*asked.denies, *received.denies))

    def _may_be_received(self, rule: Rule, denies: Sequence[Rule], held: Held) -> bool:
        """Whether denied deliveries leave something of a grant; what they take is told."""
        for deny in denies:
            if swallows(deny, rule):
                why = f"nothing of it may be received (line {deny.at.line})"
                self._left.left_out(rule.at, rule.said, why, who=held.username)
                return False
            if overlaps_here(deny, rule):
                why = f"a subscription that touches {deny.topic} is refused as a whole: it may not be received"
                instead = f"subscribe to filters that do not overlap {deny.topic}"
                self._left.stricter(rule.at, rule.said, why, instead, held.username)
        return True

    def _received(self, rule: Rule, received: Grants, held: Held) -> list[Rule]:
        """The parts of a grant that may be received."""
        whole = rule.pattern.widest
        parts = {intersection(whole, other.pattern.widest): None for other in received.allows if not other.beyond}
        parts.pop(None, None)
        kept = [
            one
            for one in parts
            if one and not any(other and other != one and levels_cover(other, one) for other in parts)
        ]
        if not kept:
            why = "nothing of it may be received (publishClientReceive)"
            self._left.left_out(rule.at, rule.said, why, who=held.username)
        elif kept != [whole]:
            topics = some([written(one) for one in kept], _MOST)
            self._left.stricter(
                rule.at, rule.said, f"granted as {topics}, for no more may be received", who=held.username
            )
        return [replace(rule, topic=written(one)) for one in kept]

    def _default(self, held: Held, kind: str, action: Action) -> list[Rule]:
        """The last rule of a chain, where the default allows."""
        default = self._root.find(_DEFAULTS).find(kind)
        if not default.true():
            return []
        said = f"{_DEFAULTS} {kind}: true"
        receives = kind == roles_of.RECEIVE
        if not receives:
            why = "granted as #, without the topics that begin with $"
            self._left.stricter(default.spot, said, why, "grant those by name", held.username)
        if kind == "subscribe" and not held.wildcards:
            why = "a role with allowwildcardsubs false lets nobody subscribe with wildcards, a grant of # would"
            self._left.left_out(default.spot, said, why, "grant the topics one by one", held.username)
            return []
        return [
            Rule(
                effect=Effect.ALLOW,
                grantee=Grantee.USER,
                name=held.username,
                action=action,
                topic="#",
                at=default.spot,
                said=said,
                beyond=receives,
            )
        ]

    def _tell_the_rest(self) -> None:
        for name, role in self._roles.items():
            if name not in self._used:
                self._left.note(role.at, f"role {name}", "nobody has it")
        anonymous = self._root.find("anonymousGroup")
        if anonymous.text():
            why = "clients without a user name get the roles of this group; here nobody is let in without an identity"
            self._left.left_out(anonymous.spot, f"anonymousGroup {anonymous.text()}", why, "give them a user name")
        unsubscribe = self._root.find(_DEFAULTS).find("unsubscribe")
        if unsubscribe.value is False:
            self._left.note(
                unsubscribe.spot, f"{_DEFAULTS} unsubscribe: false", "nobody is refused an UNSUBSCRIBE here"
            )
        for sentence in _DIFFERENCES:
            self._left.differs(sentence)


def _controls(rule: Rule) -> bool:
    """Whether it is of the broker's control topics, which no default lets anybody receive."""
    return rule.topic.startswith("$CONTROL")

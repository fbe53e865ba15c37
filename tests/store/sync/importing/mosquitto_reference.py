"""How Mosquitto decides by `acl_file` and by dynamic security, written down from its source, not from ours.

`test_mosquitto_reference.py` holds it against a real Mosquitto, where there is one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

READ, WRITE = 1, 2
ACCESS = {"read": READ, "write": WRITE, "readwrite": READ | WRITE, "deny": 0}


@dataclass(frozen=True)
class AclLine:
    """A `topic` line of a user, or a `pattern` line."""

    user: str
    """Empty for a pattern."""
    access: str
    topic: str

    def __str__(self) -> str:
        if self.user:
            return f"user {self.user}\ntopic {self.access} {self.topic}"
        return f"pattern {self.access} {self.topic}"


def acl_allows(lines: Sequence[AclLine], username: str, client_id: str, access: int, topic: str) -> bool:
    """`mosquitto_acl_check_default`: for a READ at delivery, or a WRITE."""
    own = [line for line in lines if line.user == username]
    patterns = [line for line in lines if not line.user]
    for line in _denials_first(own):
        if matches(line.topic, topic):
            if not ACCESS[line.access]:
                return False
            if ACCESS[line.access] & access:
                return True
    if set(username + client_id) & set("+#"):
        return False
    for line in _denials_first(patterns):
        if matches(line.topic.replace("%c", client_id).replace("%u", username), topic):
            if not ACCESS[line.access]:
                return False
            if ACCESS[line.access] & access:
                return True
    return False


def _denials_first(lines: Sequence[AclLine]) -> list[AclLine]:
    return sorted(lines, key=lambda line: ACCESS[line.access] != 0)


def matches(sub: str, topic: str) -> bool:
    """`mosquitto_topic_matches_sub`, by the text of MQTT."""
    left, right = sub.split("/"), topic.split("/")
    if (left[0] in {"+", "#"} and right[0].startswith("$")) or (right[0] in {"+", "#"} and left[0].startswith("$")):
        return False
    for depth, level in enumerate(left):
        if level == "#":
            return True
        if depth == len(right) or level not in {"+", right[depth]}:
            return False
    return len(left) == len(right)


def dynsec_allows(config: Mapping[str, Any], username: str, kind: str, topic: str) -> bool:
    """`acl_check`: `kind` is publishClientSend, publishClientReceive or subscribe."""
    for role in _roles(config, username):
        for acl in _asked(role, kind, topic):
            return bool(acl["allow"])
    default: bool = config["defaultACLAccess"][kind]
    return default and not topic.startswith("$CONTROL")


def _roles(config: Mapping[str, Any], username: str) -> Iterator[Mapping[str, Any]]:
    roles = {role["rolename"]: role for role in config["roles"]}
    (client,) = [client for client in config["clients"] if client["username"] == username]
    holders = [client]
    memberships = [
        (member.get("priority", -1), group)
        for group in config["groups"]
        for member in group["clients"]
        if member["username"] == username
    ]
    holders += [group for _, group in sorted(memberships, key=lambda one: -one[0])]
    for holder in holders:
        for held in sorted(holder["roles"], key=lambda one: -one.get("priority", -1)):
            yield roles[held["rolename"]]


def _asked(role: Mapping[str, Any], kind: str, topic: str) -> Iterator[Mapping[str, Any]]:
    """The entries of a role that match, in the order in which they are asked."""
    acls = sorted(role["acls"], key=lambda acl: -acl.get("priority", 0))
    if kind != "subscribe":
        yield from (acl for acl in acls if acl["acltype"] == kind and matches(acl["topic"], topic))
        return
    yield from (acl for acl in acls if acl["acltype"] == "subscribeLiteral" and acl["topic"] == topic)
    yield from (acl for acl in acls if acl["acltype"] == "subscribePattern" and sub_acl_check(acl["topic"], topic))


def sub_acl_check(acl: str, sub: str) -> bool:
    """The same, of version 2.0."""
    if acl == "#":
        return True
    grant, grant_hash = _without_hash(acl)
    asked, asked_hash = _without_hash(sub)
    if asked_hash and not grant_hash:
        return False
    left, right = grant.split("/"), asked.split("/")
    if len(left) > len(right) or (len(right) > len(left) and not grant_hash):
        return False
    return all(level in {"+", other} for level, other in zip(left, right, strict=False))


def _without_hash(text: str) -> tuple[str, bool]:
    if text == "#":
        return "", True
    return (text[:-2], True) if text.endswith("/#") else (text, False)

"""A new user in a policy file: an identity and a permission block put below the others, the rest left as it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from store.sync.document import Policy, load_policy
from store.sync.findings import InvalidPolicy, PolicyError
from store.sync.layout import Child, Node, read_layout
from store.sync.quoting import block, flow
from store.sync.syntax import decode

_BELOW_IDENTITIES: Final = (
    "roles",
    "permissions",
    "blacklist",
    "access_keys",
    "device_credentials",
    "fixtures",
    "tests",
)
_BELOW_PERMISSIONS: Final = _BELOW_IDENTITIES[2:]


class NotAdded(Exception):
    """A user that cannot be added as it was asked for; the message says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """What is to be added."""

    username: str
    id: str = ""
    """Of the identity; made of the user name where it is empty."""
    client_id: str = ""
    sign_mode: str = ""
    """As the file has it; may be left out with a hash."""
    secret: Mapping[str, str] | None
    """``{env: …}``, ``{file: …}`` or ``{hash: …}``; None for an external identity."""
    publish: Sequence[str] = ()
    subscribe: Sequence[str] = ()

    def identity(self, name: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"id": name, "username": self.username}
        if self.client_id:
            entry["client_id"] = self.client_id
        if self.sign_mode:
            entry["sign_mode"] = self.sign_mode
        if self.secret is not None:
            entry["secret"] = self.secret
        return entry

    def permission(self, name: str) -> dict[str, Any]:
        """Granted to the client alone, where the identity is one client's."""
        entry: dict[str, Any] = {"id": name}
        entry |= {"client_id": self.client_id} if self.client_id else {"username": self.username}
        topics = {"publish": list(self.publish), "subscribe": list(self.subscribe)}
        return entry | {key: value for key, value in topics.items() if value}


def with_user(path: Path, data: bytes, user: NewUser) -> bytes:
    """The policy file at `path` with a user more. `data` is what it says now.

    Raises:
        InvalidPolicy: the file is no policy, or would be none with the user.
        NotAdded: there is such an identity, or such an id, or the file is written in a way that leaves no place.
    """
    policy = load_policy([path], instead={path: data})
    name = _free_id(policy, user)
    text = decode(data)
    newline = "\r\n" if "\r\n" in text else "\n"
    text = text.replace("\r\n", "\n")
    text = _with_entry(text, "identities", user.identity(name), _BELOW_IDENTITIES)
    if user.publish or user.subscribe:
        granted = _first_free({*_ids(policy), name}, f"{name}-topics")
        text = _with_entry(text, "permissions", user.permission(granted), _BELOW_PERMISSIONS)
    made = text.replace("\n", newline).encode()
    try:
        load_policy([path], instead={path: made})
    except InvalidPolicy as wrong:
        # Their places are in a text that nobody will see.
        told = dict.fromkeys(f"{one.message}; nothing was written, ask for another user" for one in wrong.errors)
        raise InvalidPolicy(tuple(PolicyError(str(path), 0, 0, message) for message in told)) from None
    return made


def _free_id(policy: Policy, user: NewUser) -> str:
    for one in policy.identities:
        same = (one.instance, one.username, one.client_id)
        if same == (policy.default_instance, user.username, user.client_id):
            client = f" with client id {user.client_id!r}" if user.client_id else ""
            raise NotAdded(f"the identity {user.username!r}{client} is given already, at {one.origin}; change it there")
    taken = _ids(policy)
    if user.id:
        if user.id in taken:
            raise NotAdded(f"the id {user.id!r} is taken, at {taken[user.id]}; choose another by --id")
        return user.id
    return _first_free(taken, user.username)


def _ids(policy: Policy) -> dict[str, str]:
    """The ids of a policy, and where they stand."""
    found: dict[str, str] = {}
    for records in (policy.identities, policy.permissions, policy.blacklist):
        for record in records:
            if record.id:
                found.setdefault(record.id, record.origin)
    return found


def _first_free(taken: Mapping[str, str] | set[str], name: str) -> str:
    number = 1
    while (found := name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    return found


def _with_entry(text: str, section: str, entry: Mapping[str, Any], below: Sequence[str]) -> str:
    """The text with an entry at the end of a section; with the section, where there is none."""
    root = read_layout(text).root
    if root.brackets:
        raise NotAdded("the whole file is written in brackets; write it without, `exhook-sync fmt` does it")
    children = {child.key.raw.strip("\"'"): child for child in root.children or () if child.key}
    if section not in children:
        following = next((children[name] for name in below if name in children), None)
        return _with_section(text, f"{section}:\n{block(entry, 2)}", following)
    node = children[section].value
    if node.children is None:
        raise NotAdded(f"`{section}` is an alias; write its entries out")
    if not node.children:
        return _put(text[: node.start].rstrip(" ") + text[node.end :], node.start, block(entry, 2))
    last = node.children[-1]
    if node.brackets:
        end = last.value.end
        return f"{text[:end]}, {flow(entry)}{text[end:]}"
    gap = "\n" if last.blank_before else ""
    return _put(text, last.value.end, gap + block(entry, _dash(text, node)))


def _with_section(text: str, section: str, following: Child | None) -> str:
    if following is None:
        return f"{text.rstrip()}\n\n{section}"
    first = min([following.start, *(comment.index for comment in following.before)])
    at = text.rfind("\n", 0, first) + 1
    return f"{text[:at]}{section}\n{text[at:]}"


def _put(text: str, end: int, lines: str) -> str:
    """Put lines below the line in which something ends."""
    # A text in a block style takes the blank lines below it, too.
    at = text.find("\n", len(text[:end].rstrip("\n"))) + 1
    return text[:at] + lines + text[at:] if at else f"{text}\n{lines}"


def _dash(text: str, node: Node) -> int:
    """The column of the dashes of a list."""
    start = (node.children or [])[0].start
    line = text.rfind("\n", 0, start) + 1
    return max(0, text.find("-", line, start) - line)

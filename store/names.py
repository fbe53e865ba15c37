"""What records may be named: instances, groups, users, clients, first levels of topics."""

import re
from collections.abc import Collection
from typing import Final

from store.topics import MAX_BYTES

_INSTANCE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_GROUP: Final = re.compile(r"GID[_-][A-Za-z0-9_-]{3,60}")
_GROUP_CLIENT_BYTES: Final = 64


class InvalidRecord(ValueError):
    """A record cannot be as it was written. `field` names the culprit; the message names value and mend."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def check_instance(name: str) -> None:
    if not _INSTANCE.fullmatch(name):
        raise InvalidRecord("instance", f"{name!r} is no instance id; 1 to 64 of A-Z a-z 0-9 _ . - (mqtt-prod, say)")


def check_group(name: str) -> None:
    if not _GROUP.fullmatch(name):
        raise InvalidRecord(
            "group", f"{name!r} is no group id; GID_ or GID-, then letters, digits, _ and -, 7 to 64 characters in all"
        )


def check_parent_topic(name: str) -> None:
    check_text("parent_topics", name)
    if name.startswith("$") or any(character in name for character in "/+#"):
        raise InvalidRecord(
            "parent_topics", f"{name!r} is no parent topic; one level, without / + #, and without $ at its beginning"
        )


def fewer_parent_topics(before: Collection[str], after: Collection[str]) -> bool:
    """Whether a registry of parent topics leaves out what another let be asked for; an empty one lets all."""
    return bool(after) and not (before and set(before) <= set(after))


def check_text(field: str, text: str) -> None:
    """What MQTT lets a client send as user name or client id: UTF-8, no NUL, at most 65,535 bytes, not empty."""
    if not text:
        raise InvalidRecord(field, f"an empty {field}")
    if "\0" in text:
        raise InvalidRecord(field, f"{text!r} has a NUL character, which no client can send")
    if len(text) <= MAX_BYTES and text.isascii():
        return
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidRecord(field, f"{text!r} is not UTF-8") from None
    if length > MAX_BYTES:
        raise InvalidRecord(field, f"a {field} of {length} bytes; MQTT allows {MAX_BYTES}")


def group_of(client_id: str) -> str:
    """The part before the first ``@@@``, or nothing where there is none."""
    group, found, _ = client_id.partition("@@@")
    return group if found else ""


def follows_group_rule(client_id: str) -> bool:
    """Whether a client id reads ``<GroupID>@@@<DeviceID>`` with at most 64 characters (seed)."""
    group, found, device = client_id.partition("@@@")
    return bool(found and device and _GROUP.fullmatch(group)) and len(client_id) <= _GROUP_CLIENT_BYTES

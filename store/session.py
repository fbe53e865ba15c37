"""What one client may do without a doubt: its rights compiled, for as long as nothing changes that they follow from.

A session never refuses. It says yes where `store.decision.authorize` allows, else that it does not know: then the
view is asked, which also knows why. What it is made from is what that decides by, so that the two cannot part.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from store.account_names import Mode
from store.decision import hindrance
from store.grants import GrantIndex, Template
from store.kept import Kept
from store.reach import OPEN
from store.records import Effect, Instance, Record
from store.rights import AnyRights, FreeRights, Rights, Rule, Window, window_of
from store.view import Client, View

MAX_TEMPLATES: Final = 16
"""Of so many permissions with placeholders a session holds its client's own filters; of more, the view is asked."""

_ILLEGAL: Final = re.compile(r"[^/][+#]|\+[^/]|#.", re.DOTALL)
"""What no filter holds: `+` beside other characters, `#` elsewhere than alone in the last level."""


_ALL_TOPICS: Final = FreeRights([("#",)])
"""What an access key with `all_topics` is granted."""


class Shared(NamedTuple):
    """What most sessions have in common; a reader has it once for all of them."""

    instance: Instance | None
    group: Kept
    everyone: Kept
    of_key: tuple[Kept, ...]
    """In an account mode: what is kept of the access key."""
    window: Window
    """How long the rights last, if no commit ends them."""


class Session:
    """One client's rights, by what a reader keeps of its subjects."""

    __slots__ = ("_rights", "checked", "client", "shared", "stamp", "user")

    def __init__(self, user: Kept, client: Kept, shared: Shared, rights: Sequence[AnyRights]) -> None:
        self.user = user
        self.client = client
        self.shared = shared
        self._rights = rights[0] if len(rights) == 1 else tuple(rights)
        self.checked = -1
        """At which of its reader's moves it was last found to stand."""
        self.stamp: object = None
        """Of whoever remembers it: what else it was made from."""

    @property
    def rights(self) -> tuple[AnyRights, ...]:
        """Of those that have any; they are asked together."""
        rights = self._rights
        return rights if isinstance(rights, tuple) else (rights,)

    @property
    def window(self) -> Window:
        return self.shared.window

    @property
    def current(self) -> bool:
        """Whether no commit touched what it was made from, the instance aside."""
        shared = self.shared
        return (
            self.user.current
            and self.client.current
            and shared.group.current
            and shared.everyone.current
            and all(kept.current for kept in shared.of_key)
        )

    def publishes(self, topic: str) -> bool:
        """Whether the client may publish to a topic, for sure."""
        if not topic or topic[0] == "$" or "+" in topic or "#" in topic or "\0" in topic:
            return False
        rights = self.rights
        for one in rights:
            if one.barred_pub is not OPEN and one.barred_pub.matches(topic):
                return False
        for one in rights:
            if one.pub.covers(topic):
                return self._registers(topic)
        return False

    def subscribes(self, asked: str) -> bool:
        """Whether the client may subscribe to a filter, for sure."""
        if not asked or asked[0] == "$" or "\0" in asked:
            return False
        wild = "+" in asked or "#" in asked
        if wild and _ILLEGAL.search(asked):
            return False
        rights = self.rights
        for one in rights:
            barrier = one.barred_sub
            if barrier is not OPEN and (barrier.may_overlap(asked) if wild else barrier.matches(asked)):
                return False
        for one in rights:
            if one.sub.covers(asked):
                return self._registers(asked)
        return False

    def _registers(self, asked: str) -> bool:
        instance = self.shared.instance
        return instance is not None and (not instance.parent_topics or instance.registers((asked.partition("/")[0],)))


def session_of(
    view: View, client: Client, kept: Sequence[Kept], now_ms: int, once: Callable[[Shared], Shared]
) -> Session:
    """The session of a client; `kept` are the parts of its view, that of the instance aside.

    `once` gives what is equal once for all.
    """
    found, window = _rights_of(view, client, kept, now_ms)
    user, own, group, everyone, *of_key = kept
    return Session(user, own, once(Shared(view.instance, group, everyone, tuple(of_key), window)), found)


def _rights_of(view: View, client: Client, kept: Sequence[Kept], now_ms: int) -> tuple[list[AnyRights], Window]:
    """What lets a client do anything, and how long that lasts."""
    account = view.account
    ending: list[Record | None] = [view.instance, view.group, view.user, view.device, *view.owners, *view.blacklist]
    if account is not None:
        ending.append(account.key)
    window = window_of(ending, now_ms)
    if (account is not None and account.name.mode is Mode.TOKEN) or hindrance(view, client, now_ms):
        return [], window
    found = [rights for one, grants in _granting(view, kept) if (rights := one.rights(grants, now_ms))]
    for rights in found:
        window = window.within(rights.window)
    templates = [template for rights in found for template in rights.templates]
    if len(templates) > MAX_TEMPLATES:
        return [], window
    if templates:
        found.append(Rights(_own(templates, client)))
    if account is not None and account.name.mode is Mode.SIGNATURE and account.key and account.key.all_topics:
        found.append(_ALL_TOPICS)
    return found, window


def _granting(view: View, kept: Sequence[Kept]) -> Iterable[tuple[Kept, GrantIndex]]:
    """What is kept of those whose permissions count, as `store.decision.authorize` has it."""
    user, client, group, everyone, *of_key = kept
    shared = ((client, view.client_grants), (group, view.group_grants), (everyone, view.all_grants))
    account = view.account
    if account is None:
        return ((user, view.user_grants), *shared)
    return ((of_key[1], account.grants), *shared) if account.name.mode is Mode.SIGNATURE else shared


def _own(templates: Iterable[Template], client: Client) -> list[Rule]:
    """Permissions with placeholders for one client. A value that is unsafe grants nothing, and denies all it might."""
    values = client.placeholder_values()
    rules: list[Rule] = []
    for permission, pattern in ((template.permission, template.pattern) for template in templates):
        levels = pattern.substitute(values)
        if levels is None and permission.effect is Effect.DENY:
            levels = pattern.widest
        if levels is not None:
            rules.append((permission, levels))
    return rules

"""The permissions of one grantee, compiled for the question that is asked most: may it, without a doubt? Pure.

`Rights` allow what one of the permissions allows, and bar what one of them may deny. They give no reasons.
"""

from collections.abc import Iterable, Sequence
from math import inf
from typing import Final, NamedTuple

from store.grants import Template
from store.reach import NOWHERE, OPEN, Barrier, Reach
from store.records import Action, Effect, Permission, Record
from store.topics import Levels

MAX_LENT: Final = 64
"""So many permissions of one grantee may have an end and be compiled: it is done anew whenever one of them ends."""


class Window(NamedTuple):
    """A time in which nothing begins or ceases to be in force: since ≤ now < until, in milliseconds since the epoch."""

    since: float
    until: float

    def within(self, other: "Window") -> "Window":
        if other is ALWAYS or other == self:
            return self
        return Window(max(self.since, other.since), min(self.until, other.until))


ALWAYS: Final = Window(-inf, inf)


def window_of(records: Iterable[Record | None], now_ms: int) -> Window:
    """The time around now in which each of these records is in force throughout, or not at all."""
    ends = [record.expires_at for record in records if record is not None and record.expires_at is not None]
    if not ends:
        return ALWAYS
    since = max((end for end in ends if end <= now_ms), default=-inf)
    return Window(since, min((end for end in ends if end > now_ms), default=inf))


Rule = tuple[Permission, Levels]
"""A permission, and the filter that it stands for."""


class Rights:
    """What one grantee may and may not do, for as long as `window` lasts."""

    __slots__ = ("barred_pub", "barred_sub", "pub", "sub", "templates", "window")

    def __init__(self, rules: Sequence[Rule], templates: tuple[Template, ...] = (), window: Window = ALWAYS) -> None:
        """`rules` are in force throughout the window; `templates` are for whoever knows a client."""
        published, subscribed = (_filters(rules, Effect.ALLOW, action) for action in (Action.PUB, Action.SUB))
        self.pub = Reach(published) if published else NOWHERE
        self.sub = self.pub if subscribed == published else Reach(subscribed) if subscribed else NOWHERE
        published, subscribed = (_filters(rules, Effect.DENY, action) for action in (Action.PUB, Action.SUB))
        self.barred_pub = Barrier(published) if published else OPEN
        self.barred_sub = Barrier(subscribed) if subscribed else OPEN
        self.templates = templates
        self.window = window


class FreeRights(Reach):
    """What one grantee may, where it is denied nothing: the same for both actions, and for ever.

    Most are like this, and it takes half the memory.
    """

    __slots__ = ()

    barred_pub = barred_sub = OPEN
    templates: tuple[Template, ...] = ()
    window = ALWAYS

    @property
    def pub(self) -> Reach:
        return self

    @property
    def sub(self) -> Reach:
        return self


AnyRights = Rights | FreeRights


def compiled(permissions: Sequence[Permission], now_ms: int) -> AnyRights | None:
    """The rights that permissions of one grantee come to; None where there are none."""
    if not permissions:
        return None
    lent = sum(permission.expires_at is not None for permission in permissions)
    window = window_of(permissions, now_ms) if lent <= MAX_LENT else ALWAYS
    rules: list[Rule] = []
    templates: list[Template] = []
    for permission in permissions:
        if not counts(permission, window, now_ms):
            continue
        pattern = permission.pattern()
        if pattern.fixed:
            rules.append((permission, pattern.widest))
        else:
            templates.append(Template(permission, pattern))
    if (
        window is ALWAYS
        and not templates
        and all(one.effect is Effect.ALLOW and one.action is Action.PUB_SUB for one, _ in rules)
    ):
        return FreeRights(levels for _, levels in rules)
    return Rights(rules, tuple(templates), window)


def counts(permission: Permission, window: Window, now_ms: int) -> bool:
    """Whether a permission counts throughout a window: without one, what ends allows nothing and denies for ever."""
    if window is ALWAYS and permission.expires_at is not None:
        return permission.effect is Effect.DENY
    return permission.in_force(now_ms)


def _filters(rules: Sequence[Rule], effect: Effect, action: Action) -> list[Levels]:
    return [levels for one, levels in rules if one.effect is effect and one.action.includes(action)]

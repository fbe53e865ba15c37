"""The permissions of one grantee, indexed by topic: ten thousand of them answer in microseconds. Pure.

Up to `FLAT` filters are a tuple that is scanned; more are split by their next level into a tree of dicts.
Whatever the way to a filter, `store.topics` judges it: the tree narrows the search, it never decides.
Walks keep their own stack, since a topic may have 30,000 levels.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Final, Literal, Self

from store.placeholders import TopicPattern
from store.records import Action, Effect, Permission
from store.topics import Levels, levels_cover, levels_overlap, levels_reach

FLAT: Final = 8
"""So many filters are scanned as fast as a tree is walked, in a tenth of the memory."""

Entry = tuple[Levels, Permission]


@dataclass(frozen=True, slots=True)
class Template:
    """A permission whose topic holds placeholders: its filter is known once the client is."""

    permission: Permission
    pattern: TopicPattern


@dataclass(frozen=True, slots=True)
class Miss:
    """The grant that came nearest to allowing, and why it did not."""

    permission: Permission
    level: int | None
    """0-based level of the asked topic or filter where the grant stops covering, as `levels_reach` counts: behind
    the last level, where the grant goes on. None where the level is not the reason."""
    why: Literal["level", "action", "expired"]


class GrantIndex:
    """What one grantee may, and may not, publish and subscribe.

    Among several permissions that decide, the most literal is named: level by level a literal before ``+``
    before ``#``, literals by their text; of one filter, the smallest permission key.
    """

    __slots__ = ("_allowed", "_denied", "_make", "permissions", "templates")

    templates: tuple[Template, ...]
    """The permissions with placeholders, DENY before ALLOW, each by permission key."""
    _allowed: "_Filters"
    _denied: "_Filters"
    _make: Callable[[], tuple[Permission, ...]]
    permissions: tuple[Permission, ...]

    def __init__(self, permissions: Iterable[Permission]) -> None:
        """The permissions of one grantee, of both effects, in any order; indexed when first asked.

        Expired ones are indexed too: whether a permission is in force is asked anew each time.
        """
        self.permissions = tuple(permissions)

    @classmethod
    def later(cls, make: Callable[[], tuple[Permission, ...]]) -> Self:
        """An index of permissions that are made when first asked for."""
        index = cls.__new__(cls)
        index._make = make
        return index

    def __getattr__(self, name: str) -> Any:
        # Asked for what is not there yet: a client that connects needs no index.
        if name == "permissions":
            self.permissions = self._make()
            return self.permissions
        if name not in ("_allowed", "_denied", "templates"):
            raise AttributeError(name)
        self._index()
        return getattr(self, name)

    def _index(self) -> None:
        filters: dict[Effect, list[Entry]] = {Effect.ALLOW: [], Effect.DENY: []}
        templates: list[Template] = []
        known: dict[str, str] = {}
        for permission in self.permissions:
            pattern = permission.pattern()
            if pattern.fixed:
                # One string per level name, however many filters hold it.
                levels = tuple(known.setdefault(level, level) for level in pattern.widest)
                filters[permission.effect].append((levels, permission))
            else:
                templates.append(Template(permission, pattern))
        templates.sort(key=lambda template: (template.permission.effect is Effect.ALLOW, template.permission.key))
        self.templates = tuple(templates)
        self._allowed = _filters(filters[Effect.ALLOW])
        self._denied = _filters(filters[Effect.DENY])

    def __len__(self) -> int:
        return len(self.permissions)

    def allowing(self, asked: Levels, action: Action, now_ms: int) -> Permission | None:
        """An ALLOW in force, without placeholders, that lets a client publish to `asked`, or subscribe to it."""
        return self._allowed.covering(asked, action, now_ms) if self._allowed.tree else None

    def denying(self, asked: Levels, action: Action, now_ms: int) -> Permission | None:
        """A DENY in force, without placeholders, that keeps a client from it: SUB asks for overlap alone."""
        if not self._denied.tree:
            return None
        if action is Action.SUB:
            return self._denied.overlapping(_Question(asked, action, now_ms))
        return self._denied.covering(asked, action, now_ms)

    def nearest(self, asked: Levels, action: Action, now_ms: int) -> Miss | None:
        """For a refusal: the ALLOW without placeholders that came nearest, and what it lacked.

        A grant that covers `asked`, but is expired or of the other action (not both), is nearer than any whose
        filter stops short; of those in force and of the right action, the nearest stops at the deepest level.
        """
        if not self._allowed.tree:
            return None
        if isinstance(self._allowed.tree, tuple):
            return _nearest_of(self._allowed.tree, asked, action, now_ms)
        question = _Question(asked, action, now_ms)
        if almost := _first(self._allowed.tree, question.covering, question.almost):
            return Miss(almost, None, "action" if almost.in_force(now_ms) else "expired")
        return self._allowed.stopping(question)


class _Branch:
    """More than `FLAT` filters that begin with the same levels, told apart by the next one."""

    __slots__ = ("children", "here", "rest", "until")

    def __init__(self, entries: tuple[Entry, ...], depth: int) -> None:
        runs: dict[str, list[Entry]] = {}
        for entry in entries:
            if len(entry[0]) > depth:
                runs.setdefault(entry[0][depth], []).append(entry)
        self.here = tuple(entry for entry in entries if len(entry[0]) == depth)
        """The filters that end before the next level."""
        self.rest = tuple(runs.pop("#", ()))
        """The filters whose next level is ``#``."""
        self.children: dict[str, _Node] = {level: tuple(run) for level, run in runs.items()}
        """The others by their next level, ``+`` among them, in the order of `_rank`."""
        self.until = {action: _until(entries, action) for action in (Action.PUB, Action.SUB)}
        """When the last of them all expires, by what is asked: a search leaves out what cannot answer."""


_Node = tuple[Entry, ...] | _Branch
_NO_EXACT: Final[Mapping[Levels, tuple[Entry, ...]]] = {}


@dataclass(slots=True)
class _Question:
    """One topic or filter that is asked for. Walks name the nodes to look into, tests judge one filter."""

    asked: Levels
    action: Action
    now_ms: int

    def live(self, permission: Permission) -> bool:
        return permission.action.includes(self.action) and permission.in_force(self.now_ms)

    def covered(self, entry: Entry) -> bool:
        return self.live(entry[1]) and levels_cover(entry[0], self.asked)

    def overlapped(self, entry: Entry) -> bool:
        return self.live(entry[1]) and levels_overlap(entry[0], self.asked)

    def stopped(self, entry: Entry) -> bool:
        return self.live(entry[1]) and not levels_cover(entry[0], self.asked)

    def almost(self, entry: Entry) -> bool:
        """Whether a filter covers, and its permission lacks one thing: the action, or time."""
        permission = entry[1]
        one_of_two = permission.action.includes(self.action) is not permission.in_force(self.now_ms)
        return one_of_two and levels_cover(entry[0], self.asked)

    def covering(self, branch: _Branch, depth: int) -> Iterable["_Node"]:
        """Where filters stand that may cover `asked`; they cover its first `depth` levels."""
        if depth == len(self.asked):
            return (branch.here, branch.rest)
        return (*self.onward(branch, depth), branch.rest)

    def overlapping(self, branch: _Branch, depth: int) -> Iterable["_Node"]:
        """Where filters stand that may overlap `asked`; they overlap its first `depth` levels."""
        asked = self.asked
        if asked[-1] == "#" and depth >= len(asked) - 1:
            return self.every(branch, depth)
        if self.now_ms >= branch.until[self.action]:
            return ()
        if depth == len(asked):
            return (branch.here, branch.rest)
        if asked[depth] == "+":
            return chain(branch.children.values(), (branch.rest,))
        return (*self.onward(branch, depth), branch.rest)

    def every(self, branch: _Branch, _depth: int) -> Iterable["_Node"]:
        if self.now_ms >= branch.until[self.action]:
            return ()
        return chain((branch.here,), branch.children.values(), (branch.rest,))

    def onward(self, node: "_Node", depth: int) -> Iterator["_Node"]:
        """The part of a node whose filters cover one more level of `asked`, the one at `depth`, but not the rest."""
        level = self.asked[depth]
        if level == "#":
            return
        # A leading `+` does not reach a first level that begins with `$`.
        accepted = (level,) if level == "+" or (depth == 0 and level.startswith("$")) else (level, "+")
        if isinstance(node, _Branch):
            yield from (node.children[name] for name in accepted if name in node.children)
        else:
            yield tuple(entry for entry in node if len(entry[0]) > depth and entry[0][depth] in accepted)


class _Filters:
    """The permissions of one effect, without placeholders."""

    __slots__ = ("exact", "tree")

    def __init__(self, entries: list[Entry]) -> None:
        entries.sort(key=_rank)
        self.tree = _tree(tuple(entries))
        self.exact = _NO_EXACT
        if len(entries) > FLAT:
            self.exact = {levels: tuple(same) for levels, same in groupby(entries, key=itemgetter(0))}

    def covering(self, asked: Levels, action: Action, now_ms: int) -> Permission | None:
        if isinstance(self.tree, tuple):
            # Most clients have a few: for them the walk below costs more than the tests.
            for levels, permission in self.tree:
                if levels_cover(levels, asked) and permission.action.includes(action) and permission.in_force(now_ms):
                    return permission
            return None
        question = _Question(asked, action, now_ms)
        # A filter covers itself, and none that covers it is more literal.
        for _, permission in self.exact.get(asked, ()):
            if question.live(permission):
                return permission
        return _first(self.tree, question.covering, question.covered)

    def overlapping(self, question: _Question) -> Permission | None:
        return _first(self.tree, question.overlapping, question.overlapped)

    def stopping(self, question: _Question) -> Miss | None:
        """The permission that would allow, but for its filter, which covers the most levels of all."""
        # trail[n]: the nodes whose filters cover the first n levels.
        trail: list[list[_Node]] = [[self.tree]]
        for depth in range(len(question.asked)):
            onward = [found for node in trail[-1] for found in question.onward(node, depth) if found]
            if not onward:
                break
            trail.append(onward)
        while trail:
            for node in trail.pop():
                if found := _first(node, question.every, question.stopped):
                    return Miss(found, len(trail), "level")
        return None


def _nearest_of(entries: tuple[Entry, ...], asked: Levels, action: Action, now_ms: int) -> Miss | None:
    """`GrantIndex.nearest` of a few, which are looked at one by one."""
    nearest: Miss | None = None
    deepest = -1
    for levels, permission in entries:
        fits, in_force = permission.action.includes(action), permission.in_force(now_ms)
        if fits and in_force:
            # What covers it would have allowed it.
            reach = levels_reach(levels, asked)
            if reach > deepest and not levels_cover(levels, asked):
                deepest, nearest = reach, Miss(permission, reach, "level")
        elif fits is not in_force and levels_cover(levels, asked):
            return Miss(permission, None, "expired" if fits else "action")
    return nearest


def _filters(entries: list[Entry]) -> _Filters:
    return _Filters(entries) if entries else _NO_FILTERS


def _rank(entry: Entry) -> tuple[tuple[tuple[int, str], ...], tuple[str, ...]]:
    levels, permission = entry
    return tuple(({"+": 1, "#": 2}.get(level, 0), level) for level in levels), permission.key


def _until(entries: Iterable[Entry], action: Action) -> float:
    expiries = (permission.expires_at for _, permission in entries if permission.action.includes(action))
    return max((math.inf if expiry is None else expiry for expiry in expiries), default=-math.inf)


def _tree(entries: tuple[Entry, ...]) -> _Node:
    """The entries, which are in the order of `_rank`, split level by level until few are left."""
    if len(entries) <= FLAT:
        return entries
    root = _Branch(entries, 0)
    unsplit = [(root, 1)]
    while unsplit:
        branch, depth = unsplit.pop()
        for level, entries_below in branch.children.items():
            if isinstance(entries_below, tuple) and len(entries_below) > FLAT:
                branch.children[level] = below = _Branch(entries_below, depth)
                unsplit.append((below, depth + 1))
    return root


def _first(
    root: _Node, walk: Callable[[_Branch, int], Iterable[_Node]], test: Callable[[Entry], bool]
) -> Permission | None:
    """The first permission, in the order of `_rank`, that the walk leads to and the test passes."""
    if isinstance(root, tuple):
        return next((entry[1] for entry in root if test(entry)), None)
    stack: list[Iterator[_Node]] = [iter((root,))]
    while stack:
        node = next(stack[-1], None)
        if node is None:
            stack.pop()
        elif isinstance(node, _Branch):
            stack.append(iter(walk(node, len(stack) - 1)))
        else:
            for entry in node:
                if test(entry):
                    return entry[1]
    return None


_NO_FILTERS: Final = _Filters([])

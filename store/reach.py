"""Which topics and filters a set of filters covers, in little memory and little time. Pure.

It knows no record and gives no reason. What it says is what `store.topics` says of one of its filters; it leaves out
filters under ``$``, and nobody may ask it for what begins so.
"""

from collections.abc import Iterable
from typing import Final, TypeAlias

from store.topics import Levels, levels_cover, levels_overlap

FLAT: Final = 8
"""So many filters with wildcards are tried one by one as fast as a tree is walked."""

_END: Final = "+#"
"""In a tree: a filter ends here. No level is spelt so."""

_Tree: TypeAlias = dict[str, "_Tree"]


class Reach:
    """What some filters cover. Ask it for legal topics and filters alone, none that begins with ``$``."""

    __slots__ = ("_literals", "_others", "_prefixes", "_tree")

    def __init__(self, filters: Iterable[Levels]) -> None:
        literals: list[str] = []
        wide: list[Levels] = []
        for levels in filters:
            if levels[0].startswith("$"):
                continue
            if "+" in levels or levels[-1] == "#":
                wide.append(levels)
            else:
                literals.append("/".join(levels))
        self._literals = tuple(literals) if len(literals) <= FLAT else frozenset(literals)
        """The filters without wildcards."""
        self._prefixes: str | tuple[str, ...] = ()
        """What stands before the ``#`` of each filter that has no other wildcard."""
        self._others: tuple[Levels, ...] = ()
        self._tree: _Tree | None = None
        """All with wildcards, where they are more than `FLAT`."""
        if len(wide) > FLAT:
            self._tree = _tree(wide)
        else:
            prefixes = tuple("/".join((*levels[:-1], "")) for levels in wide if "+" not in levels)
            self._prefixes = prefixes[0] if len(prefixes) == 1 else prefixes
            self._others = tuple(levels for levels in wide if "+" in levels)

    def covers(self, asked: str) -> bool:
        """Whether one of the filters covers a topic or filter."""
        # With a slash behind it, the parent level of `x/#` begins like the levels below.
        if asked in self._literals or (asked + "/").startswith(self._prefixes):
            return True
        if self._others:
            levels = tuple(asked.split("/"))
            return any(levels_cover(one, levels) for one in self._others)
        return self._tree is not None and _covers(self._tree, asked.split("/"))


NOWHERE: Final = Reach(())


class Barrier:
    """What some filters forbid: a topic that one of them matches, a filter that shares a topic with one of them."""

    __slots__ = ("_filters", "_reach")

    def __init__(self, filters: Iterable[Levels]) -> None:
        self._filters = tuple(filters)
        self._reach = Reach(self._filters)

    def __bool__(self) -> bool:
        return bool(self._filters)

    def matches(self, topic: str) -> bool:
        """Whether one of the filters names a topic."""
        return self._reach.covers(topic)

    def may_overlap(self, asked: str) -> bool:
        """False only where no filter overlaps a filter that is asked for."""
        if len(self._filters) > FLAT:
            return True
        levels = tuple(asked.split("/"))
        return any(levels_overlap(one, levels) for one in self._filters)


OPEN: Final = Barrier(())


def _tree(filters: Iterable[Levels]) -> _Tree:
    root: _Tree = {}
    for levels in filters:
        node = root
        for level in levels:
            node = node.setdefault(level, {})
        node[_END] = {}
    return root


def _covers(root: _Tree, asked: list[str]) -> bool:
    """`levels_cover` for any filter of a tree."""
    stack = [(root, 0)]
    while stack:
        node, depth = stack.pop()
        if "#" in node:
            return True
        if depth == len(asked):
            if _END in node:
                return True
            continue
        level = asked[depth]
        # `#` is covered by `#` alone, which was looked for above.
        if level != "#":
            names = {level, "+"}
            stack += [(node[name], depth + 1) for name in names if name in node]
    return False

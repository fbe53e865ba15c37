"""Policy files as they are meant to look: keys in their order, indented alike, comments kept, nothing else changed."""

from collections import Counter
from typing import Final

from store.sync.layout import Child, Comment, Layout, Node, read_layout
from store.sync.sorting import put_in_order
from store.sync.source import Items, Mapping, Text, Value, read_source
from store.sync.syntax import InvalidSource, decode

WIDTH: Final = 120
"""Columns; what does not fit in brackets is written without."""

_STEP: Final = 2


class WouldChange(AssertionError):
    """The formatted text would not say what the file says: a fault of this module. Nothing is written."""


def formatted(data: bytes) -> str:
    """The text of a policy file as it is meant to look.

    Raises:
        InvalidSource: the file cannot be read.
        WouldChange: a fault of this module.
    """
    before = read_source(data)
    if before.root is None or before.faults:
        raise InvalidSource(before.faults[0])
    layout = read_layout(decode(data).replace("\r\n", "\n").replace("\r", "\n"))
    comments = Counter(layout.comments)
    if not layout.aliases:
        put_in_order(layout.root)
    text = _Writer().write(layout)
    after = read_source(text.encode())
    if after.root is None or after.faults or not _same(before.root, after.root):
        raise WouldChange("the formatted text would say something else; nothing was written")
    if Counter(read_layout(text).comments) != comments:
        raise WouldChange("the formatted text would lose a comment; nothing was written")
    return text


def _same(one: Value, other: Value) -> bool:
    """Whether two values say the same; the order of keys does not count."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, Items) and isinstance(other, Items):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, Text) and isinstance(other, Text) and one == other and one.plain == other.plain


class _Writer:
    """Writes one file, line by line."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._no_blank = False
        """Whether a blank line here would become part of the text above it."""

    def write(self, layout: Layout) -> str:
        for comment in layout.head:
            self._comment(comment, 0, first=not self._lines)
        root = layout.root
        before: Child | None = None
        for child in root.children or ():
            sections = before is not None and (self._opens(before) or self._opens(child))
            if sections or (before is None and layout.gap):
                self._blank()
            self._child(child, 0, first=before is None and not layout.gap)
            before = child
        self._tail(root, 0)
        return "\n".join(self._lines) + "\n"

    def _opens(self, child: Child) -> bool:
        """Whether a section takes lines of its own."""
        start = f"{child.key.raw if child.key else ''}:"
        return bool(child.value.children) and not self._in_brackets(start, child.value)

    def _children(self, node: Node, indent: int) -> None:
        for place, child in enumerate(node.children or ()):
            self._child(child, indent, first=place == 0)
        self._tail(node, indent)

    def _tail(self, node: Node, indent: int) -> None:
        for comment in node.tail:
            self._comment(comment, indent)
        if node.closing is not None:
            self._comment(node.closing, indent)

    def _child(self, child: Child, indent: int, *, first: bool) -> None:
        comments = [*child.before, *_hoisted(child)]
        for place, comment in enumerate(comments):
            self._comment(comment, indent, first=first and place == 0)
        if child.blank_before and not (first and not comments):
            self._blank()
        if child.key is None:
            self._value(f"{' ' * indent}-", child.value, indent, None)
        else:
            gap = " " if child.key.raw.startswith("*") else ""
            self._value(f"{' ' * indent}{child.key.raw}{gap}:", child.value, indent, child.key.comment)

    def _value(self, start: str, node: Node, indent: int, comment: Comment | None) -> None:
        """A value behind its key or dash."""
        if node.children is None:
            self._scalar(start, node, indent, comment or node.comment)
            return
        inline = self._in_brackets(start, node)
        if inline:
            self._line(f"{start} {inline}", comment or node.closing)
            return
        at = len(self._lines)
        joined = start.endswith("-") and not node.raw
        if not joined:
            self._line(f"{start} {node.raw}" if node.raw else start, comment or node.comment)
        self._children(node, indent + _STEP)
        if joined:
            self._lines[at] = f"{start} {self._lines[at].lstrip(' ')}"

    def _scalar(self, start: str, node: Node, indent: int, comment: Comment | None) -> None:
        if node.block:
            self._block(start, node, indent)
            return
        first, *more = node.raw.split("\n")
        within = " " * (indent + _STEP)
        lines = [
            f"{start} {first}",
            *(f"{within}{line}" if line else "" for line in (one.lstrip(" \t") for one in more)),
        ]
        self._lines += lines[:-1]
        self._line(lines[-1], comment)

    def _block(self, start: str, node: Node, indent: int) -> None:
        """A text in a block style, moved with what holds it."""
        head, _, body = node.raw.partition("\n")
        keep = "+" in head.partition("#")[0]
        lines = body.split("\n")
        if lines and not lines[-1]:
            lines.pop()
        while lines and not keep and not lines[-1].strip(" "):
            lines.pop()
        given = next((int(char) for char in head.partition("#")[0] if char.isdigit()), 0)
        old = (
            node.holder_column + given
            if given
            else min((len(line) - len(line.lstrip(" ")) for line in lines if line.strip(" ")), default=0)
        )
        new = " " * (indent + (given or _STEP))
        self._line(f"{start} {head.rstrip()}", None)
        self._lines += [f"{new}{line[old:]}" if line[old:] else "" for line in lines]
        self._no_blank = keep

    def _in_brackets(self, start: str, node: Node) -> str:
        """A mapping or list in brackets, where it may be written so; else nothing."""
        text = _flow(node) if node.flow or not node.children else None
        if text is None:
            return ""
        one_scalar = node.children is not None and [child.value.children for child in node.children] in ([], [None])
        return text if one_scalar or len(start) + 1 + len(text) <= WIDTH else ""

    def _comment(self, comment: Comment, indent: int, *, first: bool = False) -> None:
        if comment.blank_before and not first:
            self._blank()
        self._line(f"{' ' * indent}{comment.text}", None)

    def _line(self, line: str, comment: Comment | None) -> None:
        if comment is not None:
            line = f"{line}  ".ljust(comment.column) + comment.text
        self._lines.append(line)
        self._no_blank = False

    def _blank(self) -> None:
        if self._lines and self._lines[-1] and not self._no_blank:
            self._lines.append("")


def _hoisted(child: Child) -> list[Comment]:
    """Comments above the first line of a list's entry that shares its line with the dash, taken from there."""
    found: list[Comment] = []
    while child.key is None and child.value.children and not child.value.raw:
        first = child.value.children[0]
        found += first.before
        first.before = []
        child = first
    return found


def _flow(node: Node) -> str | None:
    """A value in brackets; None where it cannot be written in one line."""
    if node.children is None:
        return None if "\n" in node.raw or node.block else node.raw
    if not (node.flow or not node.children):
        return None
    parts = []
    for child in node.children:
        value = _flow(child.value)
        if value is None:
            return None
        gap = " " if child.key is not None and child.key.raw.startswith("*") else ""
        parts.append(value if child.key is None else f"{child.key.raw}{gap}: {value}")
    within = ", ".join(parts)
    return f"{node.raw} ".lstrip() + (f"{{{within}}}" if node.mapping else f"[{within}]")

"""A YAML file as it is laid out: its values as they are written, and the comments, each where it belongs.

Unlike `store.sync.source`, which knows what a file says, this knows how it says it; `store.sync.formatting` writes it
down again.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ruamel.yaml.events import AliasEvent, MappingEndEvent, MappingStartEvent, ScalarEvent, SequenceEndEvent

from store.sync.syntax import Fault, InvalidSource, read_events

_BLOCK_STYLES: Final = ("|", ">")


@dataclass(slots=True, eq=False)
class Comment:
    """One comment, from ``#`` to the end of its line."""

    text: str
    line: int
    column: int
    index: int
    own_line: bool
    blank_before: bool
    """Whether the line above is blank."""


@dataclass(slots=True, eq=False)
class Node:
    """One value, or key."""

    start: int
    end: int
    line: int
    """Of its first character, from 0."""
    end_line: int
    holder_column: int = 0
    """The column of the mapping or list that holds it; what a block style counts from."""
    raw: str = ""
    """A scalar or alias as it is written; the anchor of a mapping or list."""
    block: bool = False
    """Whether it is a text in a block style."""
    mapping: bool = False
    brackets: bool = False
    """Whether it is written in brackets."""
    flow: bool = False
    """Whether it may stay so: no comment stands within."""
    children: "list[Child] | None" = None
    """None for a scalar."""
    comment: Comment | None = None
    """Behind it in its line; for a mapping or list, behind its opening bracket."""
    closing: Comment | None = None
    """Behind its closing bracket."""
    tail: list[Comment] = field(default_factory=list)
    """Below its last child."""


@dataclass(slots=True, eq=False)
class Child:
    """An entry of a mapping or list."""

    key: Node | None
    value: Node
    before: list[Comment] = field(default_factory=list)
    """The comments above it."""
    blank_before: bool = False

    @property
    def start(self) -> int:
        return (self.key or self.value).start


@dataclass(slots=True)
class Layout:
    """A whole file."""

    root: Node
    head: list[Comment]
    """The comments above the first key."""
    gap: bool
    """Whether a blank line follows them."""
    comments: list[str]
    """The texts of all comments, in order."""
    aliases: bool
    """Whether a value refers to an anchor, so that the order of values counts."""


def read_layout(text: str) -> Layout:
    """The layout of a file that `store.sync.source` found no fault with.

    Raises:
        InvalidSource: a key over several lines.
    """
    reader = _Reader(text)
    root = reader.document()
    comments = reader.comments()
    head = _attach(text, root, comments)
    gap = False
    if root.children:
        gap = bool(head) and root.children[0].blank_before
        root.children[0].blank_before = False
    _settle(text, root)
    return Layout(root, head, gap, [comment.text for comment in comments], reader.aliases)


class _Reader:
    """Makes nodes of the parser's events."""

    def __init__(self, text: str) -> None:
        self.aliases = False
        self._text = text
        self._events = read_events(text)
        self._opaque: list[tuple[int, int]] = []
        """Where no comment begins."""
        self._kept: list[tuple[int, int]] = []
        """Where a blank line is part of a text."""

    def document(self) -> Node:
        next(self._events)
        next(self._events)
        return self._node(next(self._events))

    def comments(self) -> list[Comment]:
        """The comments of the file; to be asked once the document is read."""
        found = []
        at = 0
        for start, end in [*self._opaque, (len(self._text), len(self._text))]:
            while (index := self._text.find("#", at, start)) >= 0:
                comment = self._comment(index)
                found.append(comment)
                at = index + len(comment.text)
            at = max(at, end)
        return found

    def _comment(self, index: int) -> Comment:
        line_start = self._text.rfind("\n", 0, index) + 1
        end = self._text.find("\n", index)
        return Comment(
            text=self._text[index : end if end >= 0 else len(self._text)].rstrip(),
            line=self._text.count("\n", 0, index),
            column=index - line_start,
            index=index,
            own_line=not self._text[line_start:index].strip(" \t"),
            blank_before=self._blank_above(line_start),
        )

    def _blank_above(self, line_start: int) -> bool:
        above = self._text.rfind("\n", 0, max(0, line_start - 1)) + 1
        kept = any(start < above < end for start, end in self._kept)
        return line_start > 0 and not kept and not self._text[above:line_start].strip()

    def _node(self, event: Any) -> Node:
        start, end = event.start_mark, event.end_mark
        node = Node(start.index, end.index, start.line, end.line)
        if isinstance(event, (ScalarEvent, AliasEvent)):
            node.raw = self._text[start.index : end.index]
            node.block = getattr(event, "style", None) in _BLOCK_STYLES
            self.aliases |= isinstance(event, AliasEvent)
            self._opaque.append((start.index, end.index))
            if node.block and "+" in node.raw.partition("\n")[0]:
                self._kept.append((start.index, end.index))
            return node
        node.mapping = isinstance(event, MappingStartEvent)
        node.flow = node.brackets = bool(event.flow_style)
        node.raw = f"&{event.anchor}" if event.anchor else ""
        node.children = []
        self._opaque.append((start.index, end.index))
        while not isinstance(event := next(self._events), (MappingEndEvent, SequenceEndEvent)):
            node.children.append(self._child(event, mapping=node.mapping))
        last = node.children[-1].value if node.children else node
        node.end, node.end_line = (
            (event.end_mark.index, event.end_mark.line) if node.flow else (last.end, last.end_line)
        )
        return node

    def _child(self, event: Any, *, mapping: bool) -> Child:
        key = self._node(event) if mapping else None
        if key is not None and ("\n" in key.raw or key.block):
            column = key.start - self._text.rfind("\n", 0, key.start)
            raise InvalidSource(Fault(key.line + 1, column, "a key over several lines; write it in one"))
        child = Child(key, self._node(next(self._events) if mapping else event))
        line_start = self._text.rfind("\n", 0, child.start) + 1
        child.blank_before = self._blank_above(line_start)
        return child


def _attach(text: str, root: Node, comments: list[Comment]) -> list[Comment]:
    """Give each comment to what it belongs to; those above the first key are the head of the file."""
    head = []
    tokens = sorted(_tokens(root), key=lambda token: token.end)
    ends = [token.end for token in tokens]
    for comment in comments:
        if not root.children or comment.index < root.children[0].start:
            head.append(comment)
            continue
        _open_up(root, comment.index)
        token = tokens[bisect_right(ends, comment.index) - 1]
        if not comment.own_line and token.line == comment.line:
            if token.closing:
                token.node.closing = comment
            else:
                token.node.comment = comment
        else:
            _put_above(text, root, comment)
    return head


class _Token(NamedTuple):
    """What a comment may stand behind."""

    end: int
    line: int
    node: Node
    closing: bool = False


def _tokens(node: Node) -> Iterator[_Token]:
    if node.children is None:
        # A text in a block style ends where the next line begins.
        yield _Token(node.end, -1 if node.block else node.end_line, node)
        return
    if node.brackets:
        yield _Token(node.start + 1, node.line, node)
        yield _Token(node.end, node.end_line, node, closing=True)
    for child in node.children:
        if child.key is not None:
            yield from _tokens(child.key)
        yield from _tokens(child.value)


def _open_up(node: Node, index: int) -> None:
    """What holds a comment cannot stay in brackets: it would be cut off behind it."""
    for child in node.children or ():
        if child.start < index and child.value.start < index < child.value.end:
            child.value.flow = False
            _open_up(child.value, index)


def _put_above(text: str, node: Node, comment: Comment) -> None:
    """Give a comment with a line of its own to the entry below it, or to the end of what it is indented as."""
    children = node.children or []
    below = bisect_right(children, comment.index, key=lambda child: child.start)
    last = children[below - 1] if below else None
    following = children[below] if below < len(children) else None
    if last is not None and comment.index < last.value.start:
        (last.value.children[0] if last.value.children and not last.value.brackets else last).before.append(comment)
    elif last is not None and comment.index < last.value.end:
        _put_above(text, last.value, comment)
    elif following is not None and (node.brackets or comment.column <= _column(text, node)):
        following.before.append(comment)
    else:
        open_ones = (
            [] if last is None else [one for one in _last_ones(last.value) if _column(text, one) <= comment.column]
        )
        if following is None:
            open_ones.insert(0, node)
        if open_ones:
            max(open_ones, key=lambda one: _column(text, one)).tail.append(comment)
        elif following is not None:
            following.before.append(comment)


def _last_ones(node: Node) -> Iterator[Node]:
    """A mapping or list without brackets, and those at its end."""
    if node.children and not node.brackets:
        yield node
        yield from _last_ones(node.children[-1].value)


def _column(text: str, node: Node) -> int:
    """The column of the keys of a mapping, or of the dashes of a list."""
    if not node.children:
        return 0
    first = node.children[0]
    line_start = text.rfind("\n", 0, first.start) + 1
    if node.mapping:
        return first.start - line_start
    dash = text.rfind("-", line_start, first.start)
    return max(0, dash - line_start)


def _settle(text: str, node: Node) -> None:
    """Where a line would have to end in two comments, put the first one above; note the columns of holders.

    So, too, with a comment that has no line to end: one between brackets that hold nothing else, or between a key and
    its text in a block style.
    """
    column = _column(text, node)
    for child in node.children or ():
        key, value = child.key, child.value
        value.holder_column = column
        if value.children == []:
            _put_before(child, [*([value.comment] if value.comment else []), *value.tail])
            value.comment, value.tail = None, []
        if key is None and value.children and value.comment is not None:
            child.before.append(value.comment)
            value.comment = None
        elif key is not None and key.comment is not None and (value.comment or value.closing or value.block):
            child.before.append(key.comment)
            key.comment = None
        _settle(text, value)


def _put_before(child: Child, comments: list[Comment]) -> None:
    """Put comments directly above an entry, below the blank line and the comments that stand there."""
    if not comments:
        return
    comments[0].blank_before = child.blank_before
    child.blank_before = False
    child.before += comments

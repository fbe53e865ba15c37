"""A plan as Markdown, for the comment that a merge request gets. No secret and no fingerprint is in it.

Names, topics, notes and sentences that quote them come from files and from the store: whoever may write those must
not be able to write a link, an image, a mention, a quick action (``/approve``) or a table of his own into the comment.
Hence they stand between code tags, and every character in them that any Markdown could take for markup is written
as a numeric reference, which no Markdown takes for anything but the character.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeVar

from store.changes import Operation
from store.sync.affected import Losing, Readmitted
from store.sync.change import Change
from store.sync.differences import differences
from store.sync.phrases import moment
from store.sync.plan import Plan
from store.sync.printable import printable
from store.sync.rendering import grouped, losing_words, summary
from store.sync.stand_ins import Compared
from store.sync.thresholds import Refusal
from store.sync.wording import describe, describe_subject

T = TypeVar("T")

SHOWN: Final = 50
"""Lines of a kind that stand open; what is more is folded."""

MOST_CHARS: Final = 60_000
"""GitHub refuses comments of more than 65,536 characters; GitLab takes a million."""

_MARKS: Final = {Operation.ADD: "+", Operation.CHANGE: "~", Operation.REMOVE: "-"}
_HARMLESS: Final = " -/,()"
"""What means nothing in the middle of a line."""
_UNSEEN: Final = re.compile("^ |(?<= ) | $")
_HEAD: Final = "| | record | id | place | change |\n|---|---|---|---|---|\n"
_FOLD: Final = "<details><summary>{}</summary>\n\n"
_UNFOLD: Final = "\n</details>\n"


def markdown(plan: Plan, refused: Sequence[Refusal] = (), *, everything: bool = False) -> str:
    """The plan as a comment. `everything` folds nothing, and lifts the limit of `MOST_CHARS`."""
    return _Comment(plan, refused, everything).text()


def code(text: str) -> str:
    """A stranger's text, as it is, which nothing takes for markup."""
    # Several blanks show as one, and outer ones not at all.
    shown = _UNSEEN.sub(r"\\x20", printable(text))
    return f"<code>{''.join(char if _plain(char) else f'&#{ord(char)};' for char in shown)}</code>"


def _plain(char: str) -> bool:
    return char.isalnum() or char in _HARMLESS


class _Comment:
    """One comment, in the making: what matters most comes first, for what is too long is cut."""

    def __init__(self, plan: Plan, refused: Sequence[Refusal], everything: bool) -> None:
        self._plan = plan
        self._refused = refused
        self._everything = everything
        self._parts: list[str] = []
        self._left = MOST_CHARS

    def text(self) -> str:
        plan = self._plan
        self._put(f"### Policy plan of {code(plan.source)}\n\n**{summary(plan)}**\n")
        if plan.compared is Compared.VALUE:
            self._put(f"\nChecksum: <code>{plan.checksum}</code>\n")
        else:
            self._put(f"\n_{plan.compared.remark}_\n")
        self._list("Apply would refuse", self._refused, lambda one: code(str(one)))
        self._list(
            "Stays in force though it left the policy, since nothing is pruned",
            plan.kept,
            lambda one: code(describe(one)),
        )
        self._list("Another source owns", plan.foreign, lambda one: f"{code(describe(one.wanted))}: {code(one.owner)}")
        self._list("Loses something", plan.losing, self._losing)
        self._list("Is let back in", plan.readmitted, _readmitted)
        for title, changes in grouped(plan.changes):
            self._section(f"{title.capitalize()} ({len(changes):,})", _HEAD, map(_row, changes), len(changes))
        return "".join(self._parts)

    def _losing(self, one: Losing) -> str:
        return f"{code(describe_subject(one.subject))}: {losing_words(one, self._plan)}"

    def _list(self, title: str, items: Sequence[T], shown: Callable[[T], str]) -> None:
        self._section(title, "", (f"- {shown(item)}\n" for item in items), len(items))

    def _section(self, title: str, head: str, lines: Iterator[str], count: int) -> None:
        """A heading, `SHOWN` lines below it, and the others folded; nothing where there are no lines."""
        if not count:
            return
        self._put(f"\n#### {title}\n\n{head}")
        first = count if self._everything else min(count, SHOWN)
        written = self._lines(lines, first)
        if written == first < count:
            self._put(f"\n{_FOLD.format(f'and {count - first:,} more')}{head}")
            written += self._lines(lines, count - first)
            self._put(_UNFOLD)
        if written < count:
            self._put(f"\n… and {count - written:,} more, for which there is no room; `--output json` names them.\n")

    def _lines(self, lines: Iterator[str], most: int) -> int:
        """Write lines as long as there is room; how many."""
        for written, line in enumerate(islice(lines, most)):
            if len(line) > self._left and not self._everything:
                return written
            self._put(line)
        return most

    def _put(self, text: str) -> None:
        self._left -= len(text)
        self._parts.append(text)


def _row(change: Change) -> str:
    record = change.record
    what: Iterator[str] = differences(change) if change.operation is Operation.CHANGE else iter(())
    cells = [
        _MARKS[change.operation],
        code(describe(record)),
        code(record.id) if record.id else "",
        code(change.origin) if change.origin else "",
        "<br>".join(map(code, what)),
    ]
    return f"| {' | '.join(cells)} |\n"


def _readmitted(one: Readmitted) -> str:
    when = "by this change" if one.at is None else f"at {moment(one.at)}"
    return f"{code(describe_subject(one.subject))} {when}"

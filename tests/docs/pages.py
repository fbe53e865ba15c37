"""The pages of the documentation as the tests read them.

Conventions of the pages:

* A fenced block after ``<!-- file: NAME -->`` is a file: it is written before the commands that follow it.
* In a ``console`` block, a line that begins with ``$ `` is a command and the lines below it are what it prints, where
  ``…`` stands for anything within a line, and a line of ``…`` alone for any lines. A comment ``# exit N`` behind a
  command is the exit code that is meant. A ``sh`` block is commands alone.
* ``<!-- run: COMMAND -->`` is run, and not shown.
* A folder ``bin`` that the page makes comes first in the path: it may hold stand-ins for programs of others.
* ``export NAME=VALUE`` sets a variable for the commands below it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_HEADING: Final = re.compile(r"#+ (.+)$")
_FENCE: Final = re.compile(r"```(\w*)$")
_HIDDEN: Final = re.compile(r"<!-- (file|run|not loaded): (.+) -->$")
_EXIT: Final = re.compile(r"\s+# exit (\d+)$")
_SPAN: Final = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: Path
    line: int
    """Of its first line within the fence, from 1."""
    language: str
    text: str
    file: str = ""
    """The name that it is written to."""
    not_loaded: str = ""
    """Why it is no policy that could be loaded."""

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command line of a page, and what it is said to do."""

    page: Path
    number: int
    line: str
    exit_code: int
    output: tuple[str, ...] | None
    """None where the page shows none."""
    hidden: bool = False

    def __str__(self) -> str:
        return f"{self.page.name}:{self.number}: {self.line}"


Step = Block | Command


def steps(page: Path) -> list[Step]:
    """Fenced blocks and hidden commands, in their order."""
    found: list[Step] = []
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    said: dict[str, str] = {}
    for number, line in lines:
        if hidden := _HIDDEN.match(line):
            if hidden[1] == "run":
                found.append(Command(page, number, hidden[2], 0, None, hidden=True))
            said[hidden[1]] = hidden[2]
        elif fence := _FENCE.match(line):
            within = []
            for _, inner in lines:
                if inner == "```":
                    break
                within.append(inner)
            text = "\n".join(within) + "\n"
            not_loaded = said.get("not loaded", "")
            found.append(Block(page, number + 1, fence[1], text, said.get("file", ""), not_loaded))
            said = {}
        elif line:
            said = {}
    return found


def commands(block: Block) -> Iterator[Command]:
    """The commands of a ``console`` or ``sh`` block."""
    lines = block.text.splitlines()
    if block.language == "sh":
        for at, line in enumerate(lines):
            if line and not line.startswith("#"):
                yield _command(block.page, block.line + at, line, None)
    elif block.language == "console":
        starts = [at for at, line in enumerate(lines) if line.startswith("$ ")]
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            yield _command(block.page, block.line + start, lines[start][2:], tuple(lines[start + 1 : end]))


def all_commands(page: Path) -> list[Command]:
    found: list[Command] = []
    for step in steps(page):
        found += [step] if isinstance(step, Command) else commands(step)
    return found


def blocks(page: Path, language: str) -> list[Block]:
    return [step for step in steps(page) if isinstance(step, Block) and step.language == language]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def spans(page: Path) -> list[str]:
    """What stands between back quotes outside of fenced blocks."""
    return _SPAN.findall(prose(page))


def sections(page: Path) -> dict[str, str]:
    """The text below each heading, down to the next one of any level."""
    found: dict[str, str] = {}
    heading, fenced = "", False
    for line in page.read_text(encoding="utf-8").splitlines(keepends=True):
        fenced ^= line.startswith("```")
        if not fenced and (match := _HEADING.match(line)):
            heading = match[1]
            assert heading not in found, f"{page.name}: two headings {heading!r}"
            found[heading] = ""
        elif heading:
            found[heading] += line
    return found


def table(text: str, first: str) -> list[list[str]]:
    """The cells of the rows of the one table whose first heading is `first`; back quotes are taken off."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    (start,) = [at for at, row in enumerate(rows) if row[0] == first]
    body = rows[start + 2 :]
    width = len(rows[start])
    end = next((at for at, row in enumerate(body) if len(row) != width or set(row[0]) == {"-"}), len(body))
    if end < len(body) and set(body[end][0]) == {"-"}:
        end -= 1  # the heading of a table that follows
    return [[cell.strip("`") for cell in row] for row in body[:end]]


def anchors(page: Path) -> set[str]:
    """What a link may name behind ``#``, as GitHub makes it of headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in sections(page)}


def _command(page: Path, number: int, line: str, output: tuple[str, ...] | None) -> Command:
    meant = _EXIT.search(line)
    return Command(page, number, _EXIT.sub("", line), int(meant[1]) if meant else 0, output)

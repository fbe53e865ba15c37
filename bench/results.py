"""What a run came to: tables by name, the machine, and what was left out; as Markdown and as JSON."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from time import perf_counter
from typing import Any

from machine import describe
from tables import Table


def add_options(parser: ArgumentParser) -> None:
    """Where the figures go besides the standard output."""
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")


class Results:
    """The results of one run, which begins when this is made."""

    def __init__(self, title: str) -> None:
        self.tables: dict[str, Table] = {}
        self.left_out: list[str] = []
        """A sentence for each thing that could not be had here."""
        self.constants: dict[str, int] = {}
        """Of the code that was measured, which the figures are read with."""
        self._title = title
        self._machine = describe()
        self._began = perf_counter()

    def add(self, name: str, table: Table) -> None:
        self.tables[name] = table

    def as_json(self) -> dict[str, Any]:
        return {
            "machine": self._machine,
            "left_out": self.left_out,
            "seconds": round(perf_counter() - self._began),
            "constants": self.constants,
            "tables": {name: table.as_json() for name, table in self.tables.items()},
        }

    def markdown(self) -> str:
        parts = [f"# {self._title}\n", f"{self._machine}\n", *(table.markdown() for table in self.tables.values())]
        if self.left_out:
            parts.append("Left out:\n\n" + "".join(f"- {sentence}\n" for sentence in self.left_out))
        parts.append(f"The whole run took {perf_counter() - self._began:.0f} s.\n")
        return "\n".join(parts)

    def write(self, asked: Namespace) -> None:
        """Print the tables, and write what was asked for by `add_options`."""
        text = self.markdown()
        print(text)
        if asked.markdown:
            asked.markdown.write_text(text, encoding="utf-8")
        if asked.json:
            asked.json.write_text(json.dumps(self.as_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

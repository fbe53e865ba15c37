"""The page of figures: `python bench/page.py` writes the tables of docs/performance.md, and its plots, from the
committed figures; nothing is measured.

A block of the page between `<!-- figures: NAME -->` and `<!-- end of figures -->` is made here.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any, Final

from plots import Series, plot
from sizing import aims, costs, fleets
from tables import Cell, Table

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "performance.md"
FOLDER: Final = ROOT / "docs" / "performance"
FIGURES: Final = FOLDER / "figures.json"

_BLOCK: Final = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- end of figures -->\n)", re.DOTALL)
_LINE_LENGTH: Final = 120
_MS: Final = (("p50 ms", True), ("p99 ms", False))


def page(text: str, figures: Mapping[str, Any]) -> str:
    """The page with its blocks made of these figures.

    Raises:
        KeyError: it names a block that there is none of.
    """
    made = _blocks(figures)
    return _BLOCK.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n{found[3]}", text)


def plots(figures: Mapping[str, Any]) -> dict[str, str]:
    """SVG by file name."""
    tables = _tables(figures)
    return {"latency.svg": _latency(tables["open-loop"]), "memory.svg": _memory(tables["memory"])}


def write(figures: Mapping[str, Any]) -> None:
    """Write the figures, the page and its plots, so that they agree."""
    FOLDER.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")
    for name, svg in plots(figures).items():
        (FOLDER / name).write_text(svg, encoding="utf-8")


def _blocks(figures: Mapping[str, Any]) -> dict[str, str]:
    tables = _tables(figures)
    blocks = {name: table.body() for name, table in tables.items()}
    blocks |= {
        "aims": aims(tables).body(),
        "costs": costs(tables).body(),
        "fleets": fleets(tables, figures["constants"]["remembered"]).body(),
    }
    left_out = "".join(f"\n{fill(f'Left out: {sentence}', _LINE_LENGTH)}\n" for sentence in figures["left_out"])
    machine = "\n".join(fill(line, _LINE_LENGTH) for line in figures["machine"].splitlines())
    return blocks | {"machine": f"{machine}\n{left_out}"}


def _tables(figures: Mapping[str, Any]) -> dict[str, Table]:
    return {name: Table.from_json(said) for name, said in figures["tables"].items()}


def _latency(table: Table) -> str:
    """p50 and p99 of each server over the rate."""
    servers = list(dict.fromkeys(str(row[0]) for row in table.rows))
    rates = sorted({int(_number(row[1]) or 0) for row in table.rows})
    series = []
    for colour, server in enumerate(servers):
        found = {row[1]: row for row in table.rows if row[0] == server}
        for column, dashed in _MS:
            at = table.columns.index(column)
            values = [_number(found[rate][at]) for rate in rates]
            series.append(Series(f"{server}, {column.split()[0]}", values, colour, dashed))
    labels = [f"{rate:,}" for rate in rates]
    return plot("Latency over load, one worker", "calls per second", labels, "ms", series, logarithmic=True)


def _memory(table: Table) -> str:
    """RSS and PSS of a worker over the records, before and after its clients came."""
    sizes = list(dict.fromkeys(int(_number(row[0]) or 0) for row in table.rows))
    series = []
    for colour, column in enumerate(("RSS MiB", "PSS MiB")):
        at = table.columns.index(column)
        for idle in (True, False):
            found = {row[0]: _number(row[at]) for row in table.rows if (row[1] == 0) is idle}
            what = "just started" if idle else "clients active"
            series.append(Series(f"{column.split()[0]}, {what}", [found.get(size) for size in sizes], colour, idle))
    labels = [f"{size:,}" for size in sizes]
    return plot("Memory of a worker over records", "identities, and as many permissions", labels, "MiB", series)


def _number(cell: Cell) -> float | None:
    return cell if isinstance(cell, int | float) else None


if __name__ == "__main__":
    write(json.loads(FIGURES.read_text(encoding="utf-8")))
    sys.exit(0)

"""The table of the demo: two lines a step, readable at 80 columns."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from exhook.demo.outcome import Outcome


def print_table(outcomes: Sequence[Outcome], title: str) -> None:
    """Who tried what, what happened, and by which rule; then how many steps went as the policy says."""
    console = Console(highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("", "who tried what", "what came of it", "by which rule"):
        table.add_column(heading, overflow="fold")
    for outcome in outcomes:
        table.add_row(*_cells(outcome))
    console.print(title)
    console.print(table)
    right = sum(outcome.as_the_policy_says for outcome in outcomes)
    others = "" if right == len(outcomes) else "; those marked NO did not"
    console.print(f"{right} of {len(outcomes)} went as the policy says{others}.")


def _cells(outcome: Outcome) -> tuple[Text, Text, Text, Text]:
    mark = Text("ok", "green") if outcome.as_the_policy_says else Text("NO", "bold red")
    tried = Text.assemble(outcome.title, "\n", (_tried(outcome), "dim"))
    happened = Text.assemble(outcome.happened, "\n", (outcome.reason, "dim"))
    return mark, tried, happened, _rule(outcome.rule)


def _tried(outcome: Outcome) -> str:
    """A client that connects, by its names; what it does then."""
    tried = outcome.tried.removeprefix("connect ")
    return tried if tried == outcome.tried else f"{outcome.client_id} {tried}"


def _rule(rule: str) -> Text:
    """Name and place, a line each."""
    named, _, owned = rule.removesuffix("]").partition(" [")
    return Text.assemble(named.partition(" ")[2], "\n", (owned.partition(" ")[2] or owned, "dim"))

"""What a soak finds, minute by minute, and whether that is well."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from tables import Table

MOST_GROWTH: Final = 1.10
"""Memory at the end, against that after the first minute."""
MOST_SLOWER: Final = 2.0
"""p99 of the last quarter, against that of the second."""
_NOISE_MS: Final = 5.0
"""A difference of p99 that says nothing where others use the machine."""
_SPARE_DESCRIPTORS: Final = 20
"""Connections of hostile peers that happen to be open."""
_COLUMNS: Final = (
    "minute", "calls", "wrong", "failed at kills", "failed else", "p50 ms", "p99 ms", "p99 quiet ms", "p99 echo ms",
    "PSS MiB", "RSS MiB", "fds", "kills", "back s, most", "uneven", "applies", "reloads", "hostile", "load",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One minute, or as long as was asked for."""

    minute: int
    calls: int
    wrong: int
    failed_at_kills: int
    failed: int
    """At moments when nothing was killed."""
    p50_ms: float
    p99_ms: float
    quiet_p99_ms: float
    """Of the calls that were under way while nothing was killed."""
    control_p99_ms: float
    """Of a process that only echoes (soak_control.py)."""
    pss_mib: float
    """Of all processes of the server together; the median over the minute, as the next."""
    rss_mib: float
    descriptors: int
    """The fewest over the minute: hostile peers come and go."""
    processes: int
    kills: int
    back_seconds: float
    """From a kill until every caller had an answer again, at most."""
    uneven: int
    """Of the callers' connections, how many more the worker with the most has than the one with the fewest."""
    applies: int
    reloads: int
    hostile: int
    sent_away: int
    """Peers that only idle and were disconnected; their worker may have been killed."""
    errors: int
    """Denials because of an error of the server, so far."""
    scrape_ms: float
    load_average: float

    def row(self) -> tuple[int | float, ...]:
        return (
            self.minute, self.calls, self.wrong, self.failed_at_kills, self.failed, self.p50_ms, self.p99_ms,
            self.quiet_p99_ms, self.control_p99_ms, self.pss_mib, self.rss_mib, self.descriptors, self.kills,
            self.back_seconds, self.uneven, self.applies, self.reloads, self.hostile, self.load_average,
        )  # fmt: skip


class Samples:
    """The samples of a run, each a line of JSON in a file as soon as it is there."""

    def __init__(self, path: Path | None) -> None:
        self.taken: list[Sample] = []
        self._path = path
        if path:
            path.write_text("", encoding="utf-8")

    def add(self, sample: Sample) -> None:
        self.taken.append(sample)
        self.note(asdict(sample))

    def note(self, word: dict[str, Any]) -> None:
        """A line beside the samples."""
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(word) + "\n")

    def table(self, title: str) -> Table:
        table = Table(title, _COLUMNS, answers=sum(sample.calls for sample in self.taken))
        for sample in self.taken:
            table.add(*sample.row())
        return table


def findings(samples: Sequence[Sample]) -> Iterator[str]:
    """What is not well; nothing, if all is."""
    if not samples:
        yield "no sample was taken"
        return
    first, last = samples[0], samples[-1]
    if wrong := sum(sample.wrong for sample in samples):
        yield f"{wrong} wrong answers"
    if failed := sum(sample.failed for sample in samples):
        yield f"{failed} calls failed when nothing was killed"
    if last.errors:
        yield f"{last.errors} denials because of an error of the server"
    if last.pss_mib > MOST_GROWTH * first.pss_mib:
        yield f"memory grew from {first.pss_mib:.1f} to {last.pss_mib:.1f} MiB"
    if last.descriptors > first.descriptors + _SPARE_DESCRIPTORS:
        yield f"open descriptors grew from {first.descriptors} to {last.descriptors}"
    if last.processes > first.processes:
        yield f"processes grew from {first.processes} to {last.processes}"
    yield from _slower(samples)


def _slower(samples: Sequence[Sample]) -> Iterator[str]:
    """Whether p99 rose, and by more than that of a process that only echoes: others may use the machine, too."""
    quarter = len(samples) // 4
    if not quarter:
        return
    second, last = samples[quarter : 2 * quarter], samples[-quarter:]
    before, after = (median(sample.quiet_p99_ms for sample in part) for part in (second, last))
    echo_before, echo_after = (median(sample.control_p99_ms for sample in part) for part in (second, last))
    by_itself = after * echo_before > MOST_SLOWER * before * echo_after
    if by_itself and after > MOST_SLOWER * before and after - before > _NOISE_MS:
        yield (
            f"p99 rose from {before:.1f} ms in the second quarter to {after:.1f} ms in the last; that of a process "
            f"that only echoes went from {echo_before:.1f} to {echo_after:.1f} ms"
        )

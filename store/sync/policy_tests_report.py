"""What came of policy tests: for people, for scripts, and as JUnit XML for the systems that show it."""

import json
from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from rich.text import Text

from store.sync.decided import as_data, grounds
from store.sync.phrases import counted
from store.sync.policy_tests import Check, Outcome, Status, said_of
from store.sync.printable import printable

_STYLES = {Status.PASSED: "green", Status.FAILED: "red", Status.ERROR: "red"}
_MARKS = {Status.PASSED: "ok", Status.FAILED: "FAILED", Status.ERROR: "ERROR"}


def text(outcomes: Sequence[Outcome], *, quiet: bool) -> list[Text]:
    """A line for each test, the grounds of what went wrong below it, and a summary; if quiet, what went wrong."""
    lines = []
    for outcome in outcomes:
        if quiet and outcome.status is Status.PASSED:
            continue
        lines.append(
            Text.assemble(
                (f"{_MARKS[outcome.status]:6}", _STYLES[outcome.status]),
                printable(f"  {outcome.case.name}  ({counted(len(outcome.checks), 'check')})"),
            )
        )
        for check in outcome.wrong:
            lines += [Text(f"        {line}") for line in _lines(outcome, check)]
    return lines if quiet else [*lines, Text(summary(outcomes))]


def summary(outcomes: Sequence[Outcome]) -> str:
    """How many of each."""
    found = Counter(outcome.status for outcome in outcomes)
    errors = f", {counted(found[Status.ERROR], 'error')}" if found[Status.ERROR] else ""
    return f"{counted(len(outcomes), 'test')}: {found[Status.PASSED]} passed, {found[Status.FAILED]} failed{errors}"


def as_json(outcomes: Sequence[Outcome]) -> str:
    """For scripts."""
    found = Counter(outcome.status for outcome in outcomes)
    said = {
        "ok": found[Status.PASSED] == len(outcomes),
        "passed": found[Status.PASSED],
        "failed": found[Status.FAILED],
        "errors": found[Status.ERROR],
        "tests": [
            {
                "name": outcome.case.name,
                "file": outcome.case.file,
                "line": outcome.case.line,
                "status": outcome.status.value,
                "checks": len(outcome.checks),
                "wrong": [_as_data(check) for check in outcome.wrong],
            }
            for outcome in outcomes
        ],
    }
    return json.dumps(said, indent=2, ensure_ascii=False)


def junit(outcomes: Sequence[Outcome]) -> bytes:
    """JUnit XML: a suite for each file, a case for each test."""
    root = ET.Element("testsuites", {"name": "exhook-sync test", **_counts(outcomes)})
    for file in dict.fromkeys(outcome.case.file for outcome in outcomes):
        within = [outcome for outcome in outcomes if outcome.case.file == file]
        suite = ET.SubElement(root, "testsuite", {"name": printable(file), **_counts(within)})
        for outcome in within:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=printable(file),
                name=printable(outcome.case.name),
                file=printable(file),
                line=str(outcome.case.line),
            )
            _add_wrong(case, outcome)
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _counts(outcomes: Sequence[Outcome]) -> dict[str, str]:
    found = Counter(outcome.status for outcome in outcomes)
    return {
        "tests": str(len(outcomes)),
        "failures": str(found[Status.FAILED]),
        "errors": str(found[Status.ERROR]),
        "skipped": "0",
    }


def _add_wrong(case: ET.Element, outcome: Outcome) -> None:
    """One element a test: several are more than most readers of JUnit XML show."""
    if outcome.status is Status.PASSED:
        return
    found = outcome.wrong
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    element = "failure" if outcome.status is Status.FAILED else "error"
    kind = next(check.decision.reason for check in found if check.status is outcome.status)
    wrong = ET.SubElement(case, element, message=printable(found[0].complaint) + more, type=kind.value)
    wrong.text = "\n".join(line for check in found for line in _lines(outcome, check))


def _lines(outcome: Outcome, check: Check) -> list[str]:
    """What went wrong, and what decided."""
    head = f"{outcome.case.file}:{check.expectation.line}: {check.complaint}"
    return [printable(line) for line in (head, *(f"  {line}" for line in grounds(check.decision, check.request)))]


def _as_data(check: Check) -> dict[str, object]:
    asked = check.expectation
    return {
        "status": check.status.value,
        "line": asked.line,
        "client": asked.asker.name,
        "request": said_of(asked),
        "expected": {"allow": asked.allow, "rule": asked.rule or None, "reason": asked.reason or None},
        "complaint": check.complaint,
        "decided": as_data(check.decision, check.request),
    }

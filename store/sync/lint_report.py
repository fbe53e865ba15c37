"""Lint findings for people and for the systems that show them beside a merge request."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import quote

from store.sync.lint import LintFinding
from store.sync.lint_off import RULES
from store.sync.printable import printable


def text(findings: Sequence[LintFinding]) -> str:
    return "".join(f"{printable(str(finding))}\n" for finding in findings)


def github(findings: Sequence[LintFinding]) -> str:
    """Workflow commands: GitHub Actions shows each at its line."""
    return "".join(
        f"::warning file={_property(one.file)},line={one.line}{f',col={one.column}' if one.column else ''},"
        f"title={_property(one.rule)}::{_data(one.message)}\n"
        for one in findings
    )


def gitlab(findings: Sequence[LintFinding]) -> str:
    """A code quality report."""
    said = Counter[tuple[str, str, str]]()
    return _json(
        [
            {
                "description": printable(one.message),
                "check_name": one.rule,
                "fingerprint": _fingerprint(one, said),
                "severity": "minor",
                "location": {"path": printable(one.file), "lines": {"begin": one.line}},
            }
            for one in findings
        ]
    )


def sarif(findings: Sequence[LintFinding]) -> str:
    """SARIF 2.1.0."""
    rules = [{"id": name, "shortDescription": {"text": meaning}} for name, meaning in RULES.items()]
    driver = {"name": "exhook-sync lint", "version": version("exhook"), "rules": rules}
    results = [
        {
            "ruleId": one.rule,
            "level": "warning",
            "message": {"text": printable(one.message)},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": quote(one.file, errors="replace")},
                        "region": {"startLine": one.line} | ({"startColumn": one.column} if one.column else {}),
                    }
                }
            ],
        }
        for one in findings
    ]
    return _json(
        {
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{"tool": {"driver": driver}, "results": results}],
        }
    )


FORMS: Final[Mapping[str, Callable[[Sequence[LintFinding]], str]]] = {
    "text": text,
    "github": github,
    "gitlab": gitlab,
    "sarif": sarif,
}


def _fingerprint(finding: LintFinding, said: Counter[tuple[str, str, str]]) -> str:
    """What tells a finding from all others, though lines move: GitLab shows one of those that are alike."""
    what = (finding.file, finding.rule, finding.message)
    said[what] += 1
    return hashlib.sha256("\0".join([*what, str(said[what])]).encode()).hexdigest()


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _data(value: str) -> str:
    return printable(value).replace("%", "%25")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")

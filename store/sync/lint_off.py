"""Lint rules, by id, and how a policy file turns one off."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

ENV_RULE: Final = "env-prefix"
"""Of no interest to a command that is given --allow-env."""

RULES: Final[Mapping[str, str]] = {
    "shadowed": "a permission that another one of the same grantee includes",
    "unreachable": "an ALLOW that a DENY of the same grantee, or of everyone, takes back wholly",
    "deny-blocks-grant": "a DENY that overlaps a wider ALLOW: whoever subscribes to the whole ALLOW is refused",
    "everything": "a grant of every topic",
    "claimable": "a grant to a client id or group that holders of a shared user name could claim",
    "no-permissions": "an identity that may connect and then do nothing",
    "expired": "a record, or a secret, whose time is over",
    "expires-soon": "a record, or the last secret of an identity, that expires within 30 days",
    "unused-role": "a role that no permission takes",
    "unused-var": "a var that nothing refers to",
    "var-in-var": "a var whose value refers to another one, which is not put in",
    "confusable": "a user name or client id that differs from another one in what people overlook",
    "literal-secret": "a secret written into the policy",
    ENV_RULE: "a variable that may be read under `--allow-env` alone",
    "unregistered-group": "a group that is used and not registered",
    "unregistered-parent-topic": "a grant of topics whose first level the instance does not register",
    "unread-column": "a column of an included file that nothing reads",
    "not-compared": "a grantee with too many permissions to compare each with each",
    "unused-off": "a lint rule turned off where it finds nothing",
}


@dataclass(frozen=True, slots=True)
class Off:
    """A rule turned off in a file, for all records of the policy or for one."""

    rule: str
    record: str
    """What a flag calls the record; empty for all."""
    file: str
    line: int
    reason: str = ""

    def covers(self, rule: str, record: str) -> bool:
        return rule == self.rule and self.record in ("", record)

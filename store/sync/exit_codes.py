"""What each failure means to a script: one table of exit codes, and the one place that maps exceptions to it."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """Exit codes of `exhook-sync`, and of `exhook` where its commands do not say otherwise."""

    DONE = 0
    PENDING = 2
    """`plan`, `diff`: there are changes to apply."""
    INVALID = 3
    REFUSED = 4
    CHECKSUM = 5
    TEST_FAILED = 6
    SECRET = 7
    STORE = 8
    DRIFT = 9
    LINT = 10
    USAGE = 64
    INTERNAL = 70
    INTERRUPTED = 130
    """Ctrl-C, as shells have it."""


class Usage(Exception):
    """A command that cannot be carried out as it was written; the message says how to write it."""


EXIT_CODES: Final[Mapping[str, ExitCode]] = {
    "builtins.KeyboardInterrupt": ExitCode.INTERRUPTED,
    "store.access_keys.KeyExists": ExitCode.USAGE,
    "store.access_keys.NoSuchKey": ExitCode.USAGE,
    "store.access_keys.OwnedElsewhere": ExitCode.REFUSED,
    "store.seal.SealError": ExitCode.STORE,
    "store.sync.apply.ChecksumDiffers": ExitCode.CHECKSUM,
    "store.sync.apply.Declined": ExitCode.REFUSED,
    "store.sync.exit_codes.Usage": ExitCode.USAGE,
    "store.sync.findings.InvalidPolicy": ExitCode.INVALID,
    "store.sync.git.GitFailed": ExitCode.USAGE,
    "store.sync.past.NotRestorable": ExitCode.REFUSED,
    "store.sync.past.UnknownRevision": ExitCode.USAGE,
    "store.sync.references.UnresolvedSecret": ExitCode.SECRET,
    "store.sync.rollback.StoreChanged": ExitCode.CHECKSUM,
    "store.sync.thresholds.Refused": ExitCode.REFUSED,
    "store.sync.wanted.UnresolvedSecrets": ExitCode.SECRET,
    "store.tokens.TokenRefused": ExitCode.REFUSED,
    "store.unavailable.StoreUnavailable": ExitCode.STORE,
    "store.writing.OverQuota": ExitCode.REFUSED,
}
"""By the full name of the exception: to import them all would take longer than most commands do."""


def exit_code_of(error: BaseException, codes: Mapping[str, int] = EXIT_CODES) -> int:
    """The exit code of a failure; INTERNAL for one that nobody foresaw."""
    for kind in type(error).__mro__:
        if code := codes.get(f"{kind.__module__}.{kind.__qualname__}"):
            return code
    return ExitCode.INTERNAL

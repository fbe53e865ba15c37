"""What each failure means to a script: one table of exit codes, and the one place that maps exceptions to it."""

from enum import IntEnum
from typing import Final

from store.access_keys import KeyExists, NoSuchKey, OwnedElsewhere
from store.seal import SealError
from store.sync.apply import ChecksumDiffers, Declined
from store.sync.document import InvalidPolicy
from store.sync.git import GitFailed
from store.sync.past import NotRestorable, UnknownRevision
from store.sync.references import UnresolvedSecret
from store.sync.rollback import StoreChanged
from store.sync.thresholds import Refused
from store.sync.wanted import UnresolvedSecrets
from store.tokens import TokenRefused
from store.unavailable import StoreUnavailable
from store.writing import OverQuota


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


EXIT_CODES: Final[dict[type[BaseException], ExitCode]] = {
    InvalidPolicy: ExitCode.INVALID,
    Refused: ExitCode.REFUSED,
    Declined: ExitCode.REFUSED,
    OverQuota: ExitCode.REFUSED,
    OwnedElsewhere: ExitCode.REFUSED,
    TokenRefused: ExitCode.REFUSED,
    NotRestorable: ExitCode.REFUSED,
    ChecksumDiffers: ExitCode.CHECKSUM,
    StoreChanged: ExitCode.CHECKSUM,
    UnresolvedSecret: ExitCode.SECRET,
    UnresolvedSecrets: ExitCode.SECRET,
    StoreUnavailable: ExitCode.STORE,
    SealError: ExitCode.STORE,
    Usage: ExitCode.USAGE,
    GitFailed: ExitCode.USAGE,
    UnknownRevision: ExitCode.USAGE,
    NoSuchKey: ExitCode.USAGE,
    KeyExists: ExitCode.USAGE,
    KeyboardInterrupt: ExitCode.INTERRUPTED,
}


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit code of a failure; INTERNAL for one that nobody foresaw."""
    for kind in type(error).__mro__:
        if kind in EXIT_CODES:
            return EXIT_CODES[kind]
    return ExitCode.INTERNAL

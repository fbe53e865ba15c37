"""What a carrier and an adapter share: a unary call, its answer, its refusal. Knows no broker and no policy."""

from collections.abc import Awaitable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol


class Status(IntEnum):
    """The gRPC status codes that are answered here."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


@dataclass(frozen=True, slots=True)
class Call:
    """One unary gRPC call, its message unread."""

    path: str
    body: bytes = field(repr=False)
    """May hold a password, so it never shows in `repr`."""
    deadline: float | None
    """When the caller stops waiting, in seconds of `time.monotonic`; None where it never does."""
    peer: str


class Refusal(Exception):
    """A call ends with a gRPC status instead of a message."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


class Service(Protocol):
    """What answers calls."""

    @property
    def paths(self) -> frozenset[str]:
        """The paths that it answers; a carrier refuses others as UNIMPLEMENTED."""

    def answer(self, call: Call) -> bytes | Awaitable[bytes]:
        """The answer's message; awaitable only where it takes time, so that quick answers cost no task.

        Raises:
            Refusal: the call ends with a status.
        """


class Carrier(Protocol):
    """What brings calls to a service and answers back."""

    async def start(self) -> int:
        """Begin to accept; the port."""

    async def stop(self, grace: float) -> None:
        """Accept no more, give calls under way `grace` seconds, then end."""

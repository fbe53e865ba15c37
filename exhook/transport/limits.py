"""What one peer, or all of them, may make a carrier hold or do; and what a carrier tells of it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds. The first three hold for every carrier; grpcio has its own for the others."""

    message_bytes: int = 1024 * 1024
    metadata_bytes: int = 16 * 1024
    half_open_seconds: float = 10.0
    """How long a call may go without its message, where its own `grpc-timeout` is longer or missing."""

    headers: int = 100
    """Fields of one call."""
    continuations: int = 16
    """CONTINUATION frames of one header block."""
    connections: int = 4096
    streams: int = 50_000
    """Calls of one connection that have no answer yet. EMQX heeds no such setting, so it is not told of this one."""
    held_bytes: int = 4 * 1024 * 1024
    """Of one connection: messages that are not whole yet, and answers that the peer does not take."""
    frames: int = 4096
    """Frames that are no work (PING, SETTINGS, WINDOW_UPDATE, PRIORITY, tiny DATA …) that may come in one burst."""
    frames_per_second: int = 512
    """Such frames beyond the burst, and beyond `frames_per_answer`."""
    frames_per_answer: int = 8
    """Such frames that each answered call makes room for: some clients return the flow window after every answer."""
    resets: int = 10_000
    """Calls that may be reset in one burst before they were answered: brokers drop all that wait when it takes long."""
    resets_per_second: int = 1000
    greeting_seconds: float = 10.0
    """How long a connection may go without the preface of HTTP/2, and a header block without its end."""
    stalled_seconds: float = 10.0
    """How long a peer may take nothing of what was answered."""
    idle_seconds: float = 300.0
    """How long a connection may say nothing before it is pinged; one that does not answer that either is dead."""
    pong_seconds: float = 20.0


class Breach(StrEnum):
    """What a peer did that was cut short; the label of a metric, so a closed set."""

    BROKEN = "broken"
    """It does not speak HTTP/2."""
    CONNECTIONS = "connections"
    CONTINUATIONS = "continuations"
    FRAMES = "frames"
    HEADERS = "headers"
    HELD = "held"
    MESSAGE = "message"
    RESETS = "resets"
    SILENT = "silent"
    """It never greeted, did not end a header block, or is dead."""
    STALLED = "stalled"
    STREAMS = "streams"
    TLS = "tls"
    """No handshake, or a certificate with no name that is let in."""


def _ignore(_: object) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """Where a carrier tells what it counts; it knows no metrics and no logs."""

    half_open: Callable[[], None] = lambda: None
    ended: Callable[[str], None] = _ignore
    """A call ended with a status: `refused` by the service, or `no_message`."""
    breach: Callable[[Breach], None] = _ignore
    stranger: Callable[[str], None] = _ignore
    """Why a peer was not let in by TLS: a word of the library's, or the names that its certificate has."""
    failed: Callable[[BaseException], None] = _ignore
    """A service raised what is no refusal; the call ended with INTERNAL."""
    connections: Callable[[int], None] = _ignore
    """How many are open now."""

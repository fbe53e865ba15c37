"""A call that is not answered yet: what came of its message, when it ends at the latest, who answers it."""

from asyncio import Future

from exhook.transport.call import Refusal, Status
from exhook.transport.h2.answers import PREFIX_BYTES
from exhook.transport.h2.asked import Asked
from exhook.transport.h2.frames import Code, StreamFault


class Stream:
    """One stream between its headers and its answer. A call without a message holds nothing but this."""

    __slots__ = ("answering", "asked", "body", "credit", "deadline", "granted", "id", "until")

    def __init__(self, number: int, asked: Asked, until: float, deadline: float | None, credit: int) -> None:
        self.id = number
        self.asked = asked
        self.until = until
        """When it is given up, in seconds of `time.monotonic`: by its own timeout, or ours for the message."""
        self.deadline = deadline
        self.credit = credit
        """Bytes that the peer may still send."""
        self.granted = 0
        """Bytes by which the peer widened the window for the answer."""
        self.body: bytearray | None = None
        self.answering: Future[bytes] | None = None

    @property
    def held(self) -> int:
        return len(self.body) if self.body is not None else 0

    def add(self, data: bytes, longest: int) -> None:
        """More of the message.

        Raises:
            Refusal: it cannot become a message that is taken.
        """
        if self.body is None:
            self.body = bytearray()
        self.body += data
        length = self._length()
        if length is not None and length > longest:
            raise MessageTooLong(length, longest)

    def whole(self) -> bytes:
        """The message, when the peer has ended the stream.

        Raises:
            Refusal: it is none that is taken.
            StreamFault: it is not as long as its headers said.
        """
        length, held = self._length(), self.held
        said = self.asked.content_length
        if said is not None and said != held:
            raise StreamFault(self.id, Code.PROTOCOL_ERROR)
        if length is None:
            raise Refusal(Status.INVALID_ARGUMENT, "the call has no message")
        if length != held - PREFIX_BYTES:
            raise Refusal(Status.INVALID_ARGUMENT, "the call has not one message alone, and whole")
        assert self.body is not None  # noqa: S101 - it has a length
        if self.body[0]:
            raise compressed(self.asked)
        return bytes(self.body[PREFIX_BYTES:])

    def _length(self) -> int | None:
        if self.body is None or len(self.body) < PREFIX_BYTES:
            return None
        return int.from_bytes(self.body[1:PREFIX_BYTES])


class MessageTooLong(Refusal):
    """A message is longer than the limit."""

    def __init__(self, length: int, longest: int) -> None:
        super().__init__(Status.RESOURCE_EXHAUSTED, f"a message of {length} bytes is more than {longest}")


def compressed(asked: Asked) -> Refusal:
    """Why a compressed message is not taken."""
    if asked.compressed:
        return Refusal(Status.UNIMPLEMENTED, "messages are taken uncompressed alone")
    return Refusal(Status.INTERNAL, "a message is compressed, and no encoding was announced")

"""How often a peer may do what is no work: so many at once, and so many a second after that."""

from exhook.transport.h2.frames import Code, ConnectionFault
from exhook.transport.limits import Breach


class Allowance:
    """A bucket of tokens that time fills."""

    __slots__ = ("_breach", "_burst", "_filled_at", "_left", "_per_second")

    def __init__(self, burst: int, per_second: float, breach: Breach, now: float) -> None:
        self._burst = self._left = float(burst)
        self._per_second = per_second
        self._breach = breach
        self._filled_at = now

    def take(self, tokens: int, now: float) -> None:
        """Take some.

        Raises:
            ConnectionFault: there are not so many.
        """
        self._left -= tokens
        if self._left >= 0:
            return
        self.add((now - self._filled_at) * self._per_second)
        self._filled_at = now
        if self._left < 0:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, f"too many {self._breach}", self._breach)

    def add(self, tokens: float) -> None:
        """Give some back, up to the burst."""
        self._left = min(self._burst, self._left + tokens)

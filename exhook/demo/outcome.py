"""What happened to one step of the demo."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """Who tried what, what came of it, and what the server's log says about it."""

    title: str
    client_id: str
    tried: str
    happened: str
    reason: str
    rule: str
    """As the log has it: ``KIND NAME [SOURCE PLACE]``; empty where no record decided."""
    as_the_policy_says: bool
    broker: str = ""
    """HOST:PORT that it was tried at."""

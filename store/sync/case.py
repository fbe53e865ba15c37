"""Policy tests as they are once their files are read: who asks, when, for what, and what must come of it."""

from dataclasses import dataclass

from store.account_names import AccountName, Mode, account_of
from store.account_records import TokenActions
from store.placeholders import client_values
from store.records import Action


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedToken:
    """A token that a test lets a client show."""

    actions: TokenActions
    resources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """A client that a test lets ask."""

    name: str
    """What the test calls it."""
    username: str
    client_id: str
    instance: str = ""
    """Its listener's; empty for the only one, or the default."""
    cn: str = ""
    address: str = ""
    external: bool = False
    account: tuple[Mode, str] | None = None
    """Account mode and key id, where it has no user name of its own."""
    token: AskedToken | None = None

    def username_in(self, instance: str) -> str:
        """The user name that it connects to an instance with."""
        return "|".join((*self.account, instance)) if self.account else self.username

    def placeholder_values(self) -> dict[str, str]:
        account: AccountName | None = account_of(self.username_in(self.instance))
        username = account.key_id if account else self.username
        return client_values(username=username, client_id=self.client_id, cn=self.cn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One request of one client, and what must come of it."""

    asker: Asker
    action: Action | None
    """PUB or SUB; None for the CONNECT."""
    topic: str
    allow: bool
    rule: str = ""
    """What a flag calls the record that must have decided; empty for any."""
    reason: str = ""
    """The reason that a refusal must have; empty for any."""
    line: int
    """Where it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test of a policy file."""

    name: str
    file: str
    line: int
    at_ms: int | None
    """When it is asked, in milliseconds since the epoch; None for now."""
    expectations: tuple[Expectation, ...]

"""What a decision is made from: one client, and the records that concern it at one revision. Pure."""

import hashlib
import hmac
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from store.account_names import AccountName, account_of
from store.account_records import AccessKey, DeviceCredential, Token
from store.credentials import dummy_secrets
from store.grants import GrantIndex
from store.names import InvalidRecord, check_text
from store.placeholders import client_values
from store.records import BlacklistEntry, Group, Identity, Instance, Secret, SignMode
from store.token_mode import Binding
from store.token_text import TokenKeys

_NO_GRANTS: Final = GrantIndex(())
_NO_TOKEN_KEYS: Final = TokenKeys()


@dataclass(frozen=True, slots=True)
class Listener:
    """Where a client came in, as the settings declare it."""

    name: str
    instance: str
    external: bool = False
    """The broker itself proves the identity here: only EXTERNAL identities count."""
    emqx: bool = True
    """The broker reads ``$queue/F`` and ``$delayed/N/T`` as EMQX does."""
    mounted: bool = False
    """The broker puts a mountpoint before every topic, so that it would not know a renewal of tokens."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks: what a CONNECT claimed, and where it came from."""

    username: str
    client_id: str
    listener: Listener
    cn: str = ""
    """Common name of the client's certificate."""
    address: str = ""
    port: int = 0
    """The client's own port; 0 where the broker does not say it."""

    @classmethod
    def from_wire(
        cls, username: bytes, client_id: bytes, listener: Listener, *, cn: bytes = b"", address: str = "", port: int = 0
    ) -> Self | None:
        """The client that the bytes name, or None where no legal CONNECT could have carried them.

        NUL, not UTF-8, over 65,535 bytes, an empty client id (a broker makes one up before it asks). An empty
        user name is legal: MQTT may leave it out.
        """
        try:
            name, own_id = username.decode(), client_id.decode()
            check_text("client_id", own_id)
            if name:
                check_text("username", name)
            common = cn.decode()
        except (UnicodeDecodeError, InvalidRecord):
            return None
        return cls(name, own_id, listener, common, address, port)

    def placeholder_values(self) -> dict[str, str]:
        account = account_of(self.username)
        return client_values(
            username=account.key_id if account else self.username, client_id=self.client_id, cn=self.cn
        )


@dataclass(frozen=True, slots=True)
class Works:
    """What verifying a password costs in an instance, weighted by how many identities cost it.

    An unknown user name is given the work of one of them, always the same one, so that time does not tell
    whether a name exists (pitfall 8).
    """

    counts: Sequence[tuple[str, int]]
    key: bytes

    def draw(self, username: str) -> tuple[SignMode, tuple[Secret, ...]]:
        """Sign mode and dummy secrets for an unknown name.

        Weighted rendezvous hashing: a draw moves only as far as the weights do, so that a name's work does
        not change whenever some identity comes or goes.
        """
        name = username.encode()
        best, drawn = -1.0, ""
        for work, count in self.counts:
            digest = hmac.digest(self.key, work.encode() + b"\0" + name, hashlib.sha256)
            # 48 bits, so that the quotient is below 1 in floating point, too.
            uniform = (int.from_bytes(digest[:6]) + 1) / (2**48 + 1)
            score = count / -math.log(uniform)
            if score > best:
                best, drawn = score, work
        return dummy_secrets(drawn)


@dataclass(frozen=True, slots=True)
class View:
    """The records that concern one client, all read at one revision."""

    revision: int
    instance: Instance | None
    group: Group | None
    """The registered group of the client id."""
    blacklist: tuple[BlacklistEntry, ...]
    """Entries of this client id or this user name."""
    owners: tuple[Identity, ...]
    """The CLIENT identities of this client id, whatever their user name."""
    user: Identity | None
    """The USER identity of this user name."""
    user_grants: GrantIndex
    client_grants: GrantIndex
    group_grants: GrantIndex
    all_grants: GrantIndex
    works: Works
    device: DeviceCredential | None = None
    """The credential that the client id belongs to."""
    account: "Account | None" = None
    """What the account mode that the user name selects goes by; None in custom authentication."""


@dataclass(frozen=True, slots=True)
class Account:
    """The records of one client of an account mode, at the revision of its view."""

    name: AccountName
    key: AccessKey | None = None
    """The access key of the user name; in DeviceCredential mode there is none."""
    grants: GrantIndex = _NO_GRANTS
    """What that access key may and may not do in the instance."""
    tokens: Mapping[str, Token] = field(default_factory=dict)
    """The tokens that are shown, or bound, by their ids; those that the store has."""
    token_keys: TokenKeys = _NO_TOKEN_KEYS
    binding: Binding | None = None
    """What is bound to the connection that asks."""

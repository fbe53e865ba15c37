"""Token mode: what a password offers, and what stays bound to a client while it is connected. Pure.

A password is ``TYPE|TOKEN`` pairs joined by ``|``, in any order, at most one each of R, W and RW (vendor).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from store.account_names import AccountName
from store.account_records import Token, TokenActions
from store.token_text import Standing, TokenKeys, standing_of
from store.verdict import Reason

TYPES: Final[Mapping[str, TokenActions]] = {actions.name: actions for actions in TokenActions}
"""What a password and a renewal call the actions of a token."""

_RW: Final = "RW"

Offer = Mapping[str, str]
"""Token strings by type."""

_REFUSED: Final = {
    Standing.FORGED: Reason.FORGED_TOKEN,
    Standing.EXPIRED: Reason.EXPIRED_TOKEN,
    Standing.REVOKED: Reason.REVOKED_TOKEN,
}


@dataclass(frozen=True, slots=True)
class BoundToken:
    """A token that was good when it was bound; all that it takes to judge it again."""

    type: str
    token_id: str
    key: str
    """The token key that signed it."""
    expires_at: int


@dataclass(frozen=True, slots=True)
class Binding:
    """What an allowed CONNECT in Token mode bound to its client."""

    instance: str
    access_key_id: str
    tokens: tuple[BoundToken, ...]
    address: str = ""
    port: int = 0
    """The client's end of the connection, where the broker says it."""

    def fits(self, account: AccountName, address: str, port: int) -> bool:
        """Whether a request is of the connection that the tokens were bound to."""
        return (self.instance, self.access_key_id, self.address, self.port) == (
            account.instance,
            account.key_id,
            address,
            port,
        )

    def renewed(self, token: BoundToken, now_ms: int) -> "Binding":
        """The binding with a token in place of the one of its type; RW takes the place of all.

        What ended goes as well, and an RW that an R and a W outlast: it would make them worthless when it ends.
        """
        kept = [one for one in self.tokens if one.type != token.type and one.expires_at > now_ms]
        tokens = (token,) if token.type == _RW else (*kept, token)
        ends = {one.type: one.expires_at for one in tokens}
        if len(ends) == len(TYPES) and ends[_RW] < min(ends[kind] for kind in ends.keys() - {_RW}):
            tokens = tuple(one for one in tokens if one.type != _RW)
        return replace(self, tokens=tokens)


def read_offer(password: bytes) -> Offer | None:
    """The tokens that a password offers; None where it is none of Token mode's."""
    try:
        parts = password.decode("ascii").split("|")
    except UnicodeDecodeError:
        return None
    types, shown = parts[::2], parts[1::2]
    if len(types) != len(shown) or len(types) > len(TYPES) or not all(shown):
        return None
    offer = dict(zip(types, shown, strict=True))
    return offer if len(offer) == len(types) and offer.keys() <= TYPES.keys() else None


def bound(offer: Offer, keys: TokenKeys) -> tuple[BoundToken, ...]:
    """The offered tokens that a token key signed."""
    found = ((kind, keys.verified(shown)) for kind, shown in offer.items())
    return tuple(BoundToken(kind, text.token_id, text.key, text.expires_at) for kind, text in found if text)


def refusal_of(
    offered: BoundToken, account: AccountName, token: Token | None, keys: TokenKeys, now_ms: int
) -> Reason | None:
    """Why a token is not good now for this access key and instance; None where it is."""
    if offered.key not in keys.keys:
        return Reason.FORGED_TOKEN
    if token is not None and (token.access_key_id, token.instance) != (account.key_id, account.instance):
        return Reason.FOREIGN_TOKEN
    if refused := _REFUSED.get(standing_of(token, offered.expires_at, now_ms)):
        return refused
    if token is None or token.actions is not TYPES[offered.type]:
        return Reason.WRONG_TOKEN_TYPE
    return None

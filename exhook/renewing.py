"""Tokens renewed on a live connection: a message to `$SYS/uploadToken`, which EMQX renames before it shows it.

Whether its sender may renew was asked like any PUBLISH. The message carries no more of its sender than the client
id, so that it is the connection to which tokens were bound last, within the same cluster, that is renewed.
"""

import json
from typing import Final, NamedTuple

from exhook.decider import Decider
from store.account_names import AccountName, Mode
from store.decision import Challenge, Decision, Reason, refused, select
from store.token_mode import TYPES, bound
from store.view import Client

TOPIC: Final = "$exhook/uploadToken"
"""What the rewrite rule makes of `$SYS/uploadToken`, whose messages EMQX shows to nobody."""

MAX_BYTES: Final = 4_096
"""A payload that holds a token of ours is a tenth as long."""


class Renewed(NamedTuple):
    """What became of a message, and who sent it, as far as that is known."""

    decision: Decision
    client: Client | None = None


def renew(decider: Decider, cluster: str, client_id: str, payload: bytes) -> Renewed:
    """Put a good token in place of the bound one of its type; whatever else comes leaves the binding as it is.

    Raises:
        StoreUnavailable: the store or the runtime file cannot be read or written.
        SealError: a secret cannot be unsealed.
    """
    revision = decider.reader.revision
    found = decider.bindings.newest(client_id, decider.listeners.serving(cluster))
    listener = decider.listener_named(found[0]) if found else None
    if found is None or listener is None:
        return Renewed(refused(Reason.NO_BINDING, revision))
    name, binding = found
    account = AccountName(Mode.TOKEN, binding.access_key_id, binding.instance)
    client = Client("|".join(account), client_id, listener, address=binding.address, port=binding.port)
    offer = read_payload(payload)
    if offer is None:
        return Renewed(refused(Reason.INVALID_INPUT, revision), client)
    tokens = bound(dict([offer]), decider.reader.token_keys([offer[1]]))
    view = decider.reader.view(binding.instance, client, [token.token_id for token in tokens])
    now = decider.now()
    decision = select(view, client, "|".join(offer).encode(), now)
    if isinstance(decision, Challenge):  # not so: a token is at hand
        return Renewed(refused(Reason.INVALID_INPUT, revision), client)
    if decision.allow and not decider.bindings.renew(name, client_id, binding, tokens[0], now):
        return Renewed(refused(Reason.NO_BINDING, revision), client)
    return Renewed(decision, client)


def read_payload(payload: bytes) -> tuple[str, str] | None:
    """Type and token of ``{"token": "…", "type": "R"}`` (vendor); None where it is none."""
    if len(payload) > MAX_BYTES:
        return None
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    kind, token = said.get("type"), said.get("token")
    if not (isinstance(kind, str) and isinstance(token, str)) or kind not in TYPES or not token.isascii():
        return None
    return kind, token

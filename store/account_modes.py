"""The three account modes: who must prove what, and what their clients may do. Pure.

Signature proves an access key's secret, DeviceCredential that of the client id's own credential; Token shows
what an access key issued. See ``docs/semantics.md``.
"""

import secrets
from typing import Final

from store.account_names import AccountName, Mode
from store.account_records import AccessKey
from store.authorizing import Question
from store.grants import GrantIndex
from store.records import MAX_LIVE_SECRETS, Secret, SignMode
from store.token_access import admitted, by_tokens, reaches_all, unbound, worthless
from store.verdict import Challenge, Decision, Prover, Reason
from store.view import Account, Client, View

_NO_GRANTS: Final = GrantIndex(())

_UNPROVABLE: Final = tuple(
    Secret(id="", value=secrets.token_bytes(32), fingerprint="") for _ in range(MAX_LIVE_SECRETS)
)
"""Fill a challenge up, so that an unknown key costs what a known one does, whether it has one secret or two."""


def select_account(
    view: View, account: Account, client: Client, password: bytes | None, now_ms: int
) -> Challenge | Decision:
    """Who must prove what, once nothing bars the client."""
    prover, verdict = standing(view, account, now_ms)
    if account.name.mode is Mode.TOKEN:
        if password is not None:
            return admitted(view, account, password, now_ms) or _allowed_if(verdict, view, prover)
        # What is not known proves nothing.
        return Challenge(SignMode.SIGNED, (), client.client_id, verdict, view.revision, prover)
    live = tuple(secret for secret in prover.secrets if secret.in_force(now_ms)) if prover else ()
    if verdict is Reason.ALLOWED and not live:
        verdict = Reason.EXPIRED
    tried = (*live, *_UNPROVABLE)[:MAX_LIVE_SECRETS]
    return Challenge(SignMode.SIGNED, tried, client.client_id, verdict, view.revision, prover)


def account_grants(view: View, account: Account) -> tuple[GrantIndex, ...]:
    """Whose permissions concern a client of an account mode; those of a user name never do."""
    own = _NO_GRANTS if account.name.mode is Mode.DEVICE_CREDENTIAL else account.grants
    return (own, view.client_grants, view.group_grants, view.all_grants)


def fallen(view: View, account: Account, now_ms: int) -> Decision | None:
    """The refusal of a client whose key or credential does not hold; None where it does."""
    prover, verdict = standing(view, account, now_ms)
    return None if verdict is Reason.ALLOWED else _allowed_if(verdict, view, prover)


def authorize_account(account: Account, question: Question) -> Decision:
    """Whether a client of an account mode, whose key or credential holds, may publish to a topic or subscribe."""
    if account.name.mode is Mode.TOKEN:
        refusal = unbound(account, question) or worthless(account, question) or question.denial()
        return refusal or by_tokens(account, question)
    if account.name.mode is Mode.SIGNATURE and account.key and reaches_all(account.key, question.asked):
        return question.denial() or _allowed_if(Reason.ALLOWED, question.view, account.key)
    return question.answer()


def renew(account: Account, question: Question) -> Decision:
    """Whether a client may renew its tokens: what it shows is judged later, what it has may have run out."""
    prover, verdict = standing(question.view, account, question.now_ms)
    refusal = unbound(account, question) or question.denial() if verdict is Reason.ALLOWED else None
    return refusal or _allowed_if(verdict, question.view, prover)


def _allowed_if(verdict: Reason, view: View, rule: Prover | None) -> Decision:
    return Decision(allow=verdict is Reason.ALLOWED, reason=verdict, revision=view.revision, rule=rule)


def standing(view: View, account: Account, now_ms: int) -> tuple[Prover | None, Reason]:
    """The key or credential that a user name names, and whether it holds, proof aside."""
    if account.name.mode is Mode.DEVICE_CREDENTIAL:
        device = view.device
        if device is None or device.device_access_key_id != account.name.key_id:
            return None, Reason.UNKNOWN_IDENTITY
        return device, Reason.ALLOWED if device.in_force(now_ms) else Reason.EXPIRED
    if account.key is None:
        return None, Reason.UNKNOWN_IDENTITY
    return account.key, _key_standing(account.key, account.name, now_ms)


def _key_standing(key: AccessKey, name: AccountName, now_ms: int) -> Reason:
    if name.instance not in key.instances:
        return Reason.WRONG_INSTANCE
    if not key.active:
        return Reason.KEY_INACTIVE
    if not key.in_force(now_ms):
        return Reason.EXPIRED
    # What `connect` lets in is the key's own secret; a token is good without it.
    if name.mode is Mode.SIGNATURE and not key.connect:
        return Reason.KEY_MAY_NOT_CONNECT
    return Reason.ALLOWED

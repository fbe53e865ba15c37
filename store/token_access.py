"""Token mode decided: what tokens admit, what they grant, and that they never reach beyond their access key. Pure."""

from dataclasses import replace

from store.account_records import AccessKey, Token, parse_resource
from store.authorizing import Question
from store.grants import GrantIndex
from store.records import Action
from store.token_mode import bound, read_offer, refusal_of
from store.topics import Levels, levels_cover, levels_reach
from store.verdict import Decision, Nearest, Reason, refused
from store.view import Account, View


def admitted(view: View, account: Account, password: bytes, now_ms: int) -> Decision | None:
    """Why the tokens that a password offers do not admit a client; None where each of them is good."""
    offer = read_offer(password)
    if offer is None:
        return refused(Reason.INVALID_INPUT, view.revision)
    tokens = bound(offer, account.token_keys)
    if len(tokens) < len(offer):
        return refused(Reason.FORGED_TOKEN, view.revision)
    for token in tokens:
        record = account.tokens.get(token.token_id)
        if reason := refusal_of(token, account.name, record, account.token_keys, now_ms):
            return replace(refused(reason, view.revision), rule=record)
    return None


def unbound(account: Account, question: Question) -> Decision | None:
    """The refusal of a request that is of no connection that tokens were bound to."""
    client = question.client
    if account.binding is None or not account.binding.fits(account.name, client.address, client.port):
        return refused(Reason.NO_BINDING, question.view.revision)
    return None


def worthless(account: Account, question: Question) -> Decision | None:
    """The refusal where one of the bound tokens is not good any more.

    That one expired is said only where nothing else is wrong with any: whoever may renew it keeps the connection.
    """
    expired: Decision | None = None
    for token in account.binding.tokens if account.binding else ():
        record = account.tokens.get(token.token_id)
        if reason := refusal_of(token, account.name, record, account.token_keys, question.now_ms):
            refusal = replace(refused(reason, question.view.revision), rule=record)
            if reason is not Reason.EXPIRED_TOKEN:
                return refusal
            expired = expired or refusal
    return expired


def by_tokens(account: Account, question: Question) -> Decision:
    """The bound token that grants what is asked, as far as its access key still covers the resource that does.

    All bound tokens are good: `worthless` found none that is not.
    """
    revision, asked, action = question.view.revision, question.asked, question.action
    held = [account.tokens[one.token_id] for one in account.binding.tokens] if account.binding else []
    beyond: Token | None = None
    nearest: list[Nearest] = []
    for token in held:
        for resource in token.resources:
            levels = parse_resource(resource)
            if not levels_cover(levels, asked):
                nearest.append(Nearest(token, "level", levels_reach(levels, asked)))
            elif not token.actions.includes(action):
                nearest.append(Nearest(token, "action"))
            elif account.key and key_covers(account.key, account.grants, levels, action, question.now_ms):
                return Decision(allow=True, reason=Reason.ALLOWED, revision=revision, rule=token)
            else:
                beyond = token
    if beyond:
        return replace(refused(Reason.KEY_SCOPE, revision), rule=beyond)
    closest = max(nearest, key=lambda near: len(asked) + 1 if near.level is None else near.level, default=None)
    return replace(refused(Reason.TOKEN_SCOPE, revision), nearest=closest)


def key_covers(access_key: AccessKey, grants: GrantIndex, asked: Levels, action: Action, now_ms: int) -> bool:
    """Whether an access key is granted a topic or filter.

    A permission with placeholders covers nothing here: when a token is issued, no client is known yet.
    """
    return reaches_all(access_key, asked) or grants.allowing(asked, action, now_ms) is not None


def reaches_all(access_key: AccessKey, asked: Levels) -> bool:
    """Whether `all_topics` grants it; like a grant of ``#``, it reaches no first level that begins with ``$``."""
    return access_key.all_topics and not asked[0].startswith("$")

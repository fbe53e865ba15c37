"""The calls for tokens: issued for what an access key may do itself, looked at, revoked."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from exhook.api.caller import Caller, not_permitted
from exhook.api.parameters import Parameters
from exhook.api.refusal import Refusal
from exhook.api.writer import Body
from store.account_records import MAX_RESOURCES, TokenActions
from store.database import Database
from store.names import InvalidRecord
from store.tokens import EndsTooSoon, KeyMayNot, NotCovered, Standing, issue_in, judge
from store.writing import Writing

_LATEST: Final = 10**15
"""Milliseconds since the epoch: tens of thousands of years ahead. What is over 30 days is cut to them anyway."""

_RESOURCES_CHARS: Final = 64 * 1024
_ACTIONS: Final = tuple(TokenActions)


def apply(asked: Parameters, caller: Caller, instance: str) -> Callable[[Writing], Body]:
    """Issue a token. The answer shows its string, which stands nowhere else."""
    actions = asked.choice("Actions", _ACTIONS)
    resources = asked.text("Resources", most=_RESOURCES_CHARS).split(",")
    expires_at = asked.number("ExpireTime", 0, _LATEST)
    if len(resources) > MAX_RESOURCES:
        raise Refusal.invalid("Resources", f"{len(resources)} resources; a token names 1 to {MAX_RESOURCES}")

    def write(writing: Writing) -> Body:
        try:
            issued = issue_in(
                writing,
                caller.key.access_key_id,
                instance=instance,
                actions=actions,
                resources=resources,
                expires_at=expires_at,
            )
        except EndsTooSoon as error:
            raise Refusal.invalid("ExpireTime", str(error)) from None
        except NotCovered as error:
            raise Refusal("PermissionCheckFailed", str(error)) from None
        except KeyMayNot:
            raise not_permitted() from None
        except InvalidRecord as error:
            raise Refusal("ParameterCheckFailed", str(error)) from None
        return {"Token": issued.text}

    return write


def query(asked: Parameters, caller: Caller, instance: str) -> Callable[[Database], Body]:
    """Whether a token is good now."""
    shown = asked.text("Token")

    def read(database: Database) -> Body:
        judged = judge(database, shown, caller.now_ms)
        good = judged.standing is Standing.GOOD and judged.token is not None and judged.token.instance == instance
        return {"TokenStatus": good}

    return read


def revoke(asked: Parameters, caller: Caller, instance: str) -> Callable[[Writing], Body]:
    """Revoke a token; one that has ended, or was revoked, is so already."""
    shown = asked.text("Token")

    def write(writing: Writing) -> Body:
        judged = judge(writing.database, shown, caller.now_ms)
        if judged.standing is Standing.FORGED or (judged.token is not None and judged.token.instance != instance):
            raise Refusal.invalid("Token", "is no token of this instance")
        if judged.token is not None:
            writing.put(replace(judged.token, revoked=True))
        return {}

    return write

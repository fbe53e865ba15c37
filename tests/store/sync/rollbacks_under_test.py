"""Rolling back in a test: short ways to go, to look, and to be refused."""

from collections.abc import Mapping
from typing import Any

import pytest
from stores_under_test import Store

from store.sync.restoring import Rollback, plan_rollback
from store.sync.rollback import RolledBack, roll_back
from store.sync.thresholds import Consent, Refused

ONE = "identities: [{username: u, sign_mode: origin, secret: {literal: one}}]\n"
TWO = "identities: [{username: u, sign_mode: origin, secret: {literal: two}}]\n"
NOBODY = "sync: {prune: true}\nblacklist: [{client_id: nobody}]\n"

Said = dict[tuple[str, ...], dict[str, Any]]
"""What a store says, by kind and key."""


class _Everything(frozenset[str]):
    """Every id."""

    def __contains__(self, _: object) -> bool:
        return True


FREELY: Mapping[str, Any] = {"allow_empty": True, "max_removals": 10_000, "allow_protected": _Everything()}


def back(store: Store, to: int, source: str = "policy", *, allow_regrant: bool = True, **more: Any) -> RolledBack:
    """Roll back, with everything let through that is not what the test is about."""
    consent = more.pop("consent", Consent(**FREELY))
    return roll_back(
        store.path,
        store.keys,
        source,
        to,
        consent=consent,
        allow_regrant=allow_regrant,
        now_ms=lambda: store.now,
        busy_ms=200,
        **more,
    )


def planned(store: Store, to: int, source: str = "policy") -> Rollback:
    with store.open() as database:
        return plan_rollback(database, source, to, now_ms=store.now)


def refused(store: Store, to: int, **more: Any) -> list[tuple[str, str]]:
    """Rules and sentences; nothing was written."""
    before, revision = store.contents(), store.revision
    with pytest.raises(Refused) as caught:
        back(store, to, **more)
    assert (store.contents(), store.revision) == (before, revision)
    return [(one.rule, one.sentence) for one in caught.value.refusals]


def left_out(done: Rollback) -> list[str]:
    return [str(one) for one in done.left_out]


def owned(said: Said, source: str) -> Said:
    return {key: value for key, value in said.items() if value.get("source", "api") == source}

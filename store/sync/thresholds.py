"""What keeps a plan from being applied, and the one flag that lets each through. Pure.

There is no flag for all of it: whoever lets many removals through has not thereby let an empty policy through.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from store.sync.hold import Hold
from store.sync.phrases import counted, some
from store.sync.plan import InUse, Plan
from store.sync.policy import Policy, SyncRules
from store.sync.wording import describe, describe_subject, handle

REMOVALS_PERCENT: Final = 30
"""Share of a source's records that an apply may remove, where the policy names no limit."""

REMOVALS_FROM: Final = 10
"""Of fewer records than this, any share may be removed: three of five are a normal day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """What the operator asks for, and lets through, for one apply."""

    prune: bool | None = None
    """Overrides the policy's own word, where it is not None."""
    checksum: str | None = None
    """Of the reviewed plan; None where none was reviewed. No plan has an empty one."""
    max_removals: int | None = None
    max_clients_losing: int | None = None
    allow_empty: bool = False
    allow_protected: frozenset[str] = frozenset()
    """Ids of protected records that may be removed."""
    adopt: frozenset[str] = frozenset()
    """Owners, or ids of records, that the policy may take over."""
    label: str = ""
    """Label for a store that has none yet."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why a plan is not applied; the sentence names the flag that lets it through, where one does."""

    rule: str
    sentence: str

    def __str__(self) -> str:
        return self.sentence


class Refused(Exception):
    """A plan was not applied, and nothing was written. `refusals` holds all reasons."""

    def __init__(self, refusals: tuple[Refusal, ...], plan: Plan) -> None:
        super().__init__("\n".join(map(str, refusals)))
        self.refusals = refusals
        self.plan = plan


def refusals(
    plan: Plan, policy: Policy, environment: str, consent: Consent, holds: Iterable[Hold] = ()
) -> tuple[Refusal, ...]:
    """All reasons at once. `environment` is the label of the store, `holds` those on the sources concerned."""
    return (
        *_held(plan, holds),
        *_environment(policy, environment, consent.label),
        *_empty(policy, consent),
        *_foreign(plan),
        *map(_in_use, plan.in_use),
        *taken(plan),
        *over_quota(plan),
        *limits(plan, policy.sync, consent),
    )


def limits(plan: Plan, rules: SyncRules, consent: Consent) -> tuple[Refusal, ...]:
    """The reasons that lie in what would be lost."""
    return (
        *_protected(plan, consent),
        *_removals(plan, rules, consent),
        *_clients_losing(plan, rules, consent),
    )


def _held(plan: Plan, holds: Iterable[Hold]) -> Iterator[Refusal]:
    if plan.changes:
        yield from (Refusal("held", f"{hold.sentence}; {hold.mend}") for hold in holds)


def _environment(policy: Policy, environment: str, label: str) -> Iterator[Refusal]:
    wanted = policy.sync.environment
    if label and environment and label != environment:
        yield Refusal(
            "environment", f"the store is labelled {environment} already; --label is for a store without a label"
        )
    elif wanted and not (environment or label):
        yield Refusal(
            "environment",
            f"the policy is for the environment {wanted}, and the store has no label; if it is that one, "
            f"give it the label once: exhook-sync apply --label {wanted}",
        )
    elif wanted and wanted != (environment or label):
        yield Refusal(
            "environment",
            f"the policy is for the environment {wanted}, and the store is labelled {environment or label}; "
            "apply it to the right store by --db, or mend sync.environment",
        )


def _empty(policy: Policy, consent: Consent) -> Iterator[Refusal]:
    if policy.empty and not consent.allow_empty:
        yield Refusal(
            "empty",
            "the policy names no identity, no permission and no blacklist entry; "
            "if nobody shall be let in, say --allow-empty",
        )


def _foreign(plan: Plan) -> Iterator[Refusal]:
    owners: dict[str, list[str]] = {}
    for one in plan.foreign:
        owners.setdefault(one.owner, []).append(f"{describe(one.wanted)} as {one.handle}")
    for owner, names in sorted(owners.items()):
        yield Refusal(
            "foreign",
            f"{owner} owns {some(names)}; take them over by --adopt {owner}, or one by --adopt and its name, "
            "or leave them out of the policy",
        )


def _in_use(one: InUse) -> Refusal:
    others = [f"{counted(count, 'record')} of {source}" for source, count in sorted(one.others.items())]
    return Refusal(
        "in_use",
        f"the {describe(one.instance)} left the policy, and holds {some(others)}; remove those first, "
        "or name the instance under `instances`",
    )


def taken(plan: Plan) -> Iterator[Refusal]:
    """Device keys that another credential has: no flag gives one to two."""
    for one in plan.taken:
        owner = one.holder.source
        mend = f"which {owner} owns; remove that" if owner != plan.source else "which this plan keeps; prune it"
        yield Refusal(
            "device_key",
            f"the device key {one.wanted.device_access_key_id!r} of the {describe(one.wanted)} is that of the "
            f"{describe(one.holder)}, {mend} first, or choose another",
        )


def over_quota(plan: Plan) -> Iterator[Refusal]:
    """Instances that would hold too much: no flag widens a quota."""
    yield from (Refusal("quota", str(one)) for one in plan.overfull)


def _protected(plan: Plan, consent: Consent) -> Iterator[Refusal]:
    kept = {
        handle(change.record): None
        for change in plan.removals
        if change.record.protect and handle(change.record) not in consent.allow_protected
    }
    if kept:
        flags = some([f"--allow-protected {name}" for name in kept])
        yield Refusal(
            "protected", f"{counted(len(kept), 'protected record')} would be removed; let each go by its name: {flags}"
        )


def _removals(plan: Plan, rules: SyncRules, consent: Consent) -> Iterator[Refusal]:
    count = len(plan.removals)
    said = _over_removals(count, plan.owned, rules, consent)
    if said:
        yield Refusal(
            "removals",
            f"{counted(count, 'record')} of {plan.owned:,} would be removed, {said}; "
            f"if they shall go, say --max-removals {count}",
        )


def _over_removals(count: int, owned: int, rules: SyncRules, consent: Consent) -> str:
    """The limit that is exceeded, or nothing."""
    if consent.max_removals is not None:
        return f"and --max-removals allows {consent.max_removals:,}" if count > consent.max_removals else ""
    if rules.removals is not None:
        return f"and sync.limits allows {rules.removals:,}" if count > rules.removals else ""
    own = rules.removals_percent
    percent = REMOVALS_PERCENT if own is None else own
    if owned < REMOVALS_FROM or count * 100 <= owned * percent:
        return ""
    return f"and {'sync.limits allows' if own is not None else 'the limit is'} {percent} %"


def _clients_losing(plan: Plan, rules: SyncRules, consent: Consent) -> Iterator[Refusal]:
    own, flag = rules.clients_losing_access, consent.max_clients_losing
    limit = own if flag is None else flag
    if limit is None or plan.clients_losing <= limit:
        return
    names = some([describe_subject(one.subject) for one in plan.losing])
    yield Refusal(
        "clients_losing",
        f"{counted(plan.clients_losing, 'client')} would lose something, and "
        f"{'sync.limits' if flag is None else '--max-clients-losing'} allows {limit:,}: {names}; "
        f"if they shall, say --max-clients-losing {plan.clients_losing}",
    )

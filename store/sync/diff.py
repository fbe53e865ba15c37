"""What a policy's files say differently at two git revisions, as a plan. Needs no store and no secret.

The files of the first revision are taken for what is in force, those of the second for what is wanted: additions,
changes and removals show as they would in a plan with prune.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from store.database import Database
from store.seal import SealKeys
from store.sync.document import load_policy
from store.sync.filling import Filling
from store.sync.findings import InvalidPolicy
from store.sync.git import Checkout, GitFailed
from store.sync.plan import Plan, plan
from store.sync.policy import KeySpec, Policy
from store.sync.stand_ins import ByReference
from store.unavailable import told_clearly

WORKING_TREE = ""
"""Stands for the files as they are, committed or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A plan from one revision to another."""

    plan: Plan
    remarks: tuple[str, ...]
    """What the plan alone would not tell."""
    policy: Policy
    """Of the second revision; an empty one where it has none."""


def difference(checkout: Checkout, old: str, new: str, paths: Sequence[Path], *, now_ms: int) -> Difference:
    """Compare the policy files of two revisions; `new` may be `WORKING_TREE`.

    Raises:
        GitFailed: a revision is not there, or neither has the files.
        InvalidPolicy: the files of one of them are no policy; its errors name the revision.
    """
    with ExitStack() as stack:
        before, after = (_policy(checkout, revision, paths, stack) for revision in (old, new))
        if before is None and after is None:
            names = " and ".join(map(str, paths))
            raise GitFailed(f"{names}: neither {old} nor {new or 'the working tree'} has it; name the policy files")
        wanted = after or _emptied(before)
        secrets = ByReference()
        database = _store_of(before, wanted.source, secrets, stack)
        made = plan(database, wanted, secrets, prune=True, now_ms=now_ms)
    return Difference(plan=made, remarks=tuple(_remarks(made, before, wanted)), policy=wanted)


def _policy(checkout: Checkout, revision: str, paths: Sequence[Path], stack: ExitStack) -> Policy | None:
    """The policy of a revision; None where it has none of the files."""
    if revision == WORKING_TREE:
        found = [path for path in paths if path.exists()]
        return load_policy(found) if found else None
    commit = checkout.commit(revision)
    if not commit:
        raise GitFailed(f"{revision}: there is no such revision; name a branch, a tag or a commit")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="exhook-diff-")))
    checkout.unpack(commit, folder)
    found = [one for one in (folder / checkout.within(path) for path in paths) if one.exists()]
    if not found:
        return None
    here = f"{folder / checkout.prefix}/"
    try:
        loaded = load_policy(found, commit=checkout.short(commit), unpacked=True)
    except InvalidPolicy as invalid:
        raise InvalidPolicy(
            tuple(
                replace(error, file=f"{revision}:{_shown(error.file, here)}", message=_shown(error.message, here))
                for error in invalid.errors
            )
        ) from None
    return _placed(loaded, lambda text: _shown(text, here))


def _shown(text: str, folder: str) -> str:
    """Without the folder that a revision was unpacked into."""
    return text.replace(folder, "")


def _placed(policy: Policy, shown: Callable[[str], str]) -> Policy:
    """The policy, its records placed where the checkout has them."""

    def placed(records: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(replace(record, origin=shown(record.origin)) for record in records)

    return replace(
        policy,
        instances=placed(policy.instances),
        groups=placed(policy.groups),
        identities=placed(policy.identities),
        access_keys=tuple(_key_placed(one, shown) for one in policy.access_keys),
        device_credentials=tuple(_key_placed(one, shown) for one in policy.device_credentials),
        permissions=placed(policy.permissions),
        blacklist=placed(policy.blacklist),
        warnings=tuple(replace(one, file=shown(one.file), message=shown(one.message)) for one in policy.warnings),
    )


def _key_placed(spec: KeySpec, shown: Callable[[str], str]) -> KeySpec:
    return replace(spec, asked=replace(spec.asked, origin=shown(spec.asked.origin)))


def _emptied(policy: Policy | None) -> Policy:
    """A policy that wants nothing more."""
    if policy is None:
        raise AssertionError("one of the two is there")
    return replace(
        policy,
        instances=(),
        implicit_instances=frozenset(),
        groups=(),
        identities=(),
        access_keys=(),
        device_credentials=(),
        permissions=(),
        blacklist=(),
        warnings=(),
    )


def _store_of(policy: Policy | None, source: str, secrets: ByReference, stack: ExitStack) -> Database:
    """A store for the moment that holds what a policy says, under the owner that it is compared with."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="exhook-diff-"))
    database = stack.enter_context(Database.open(Path(folder, "before.db"), SealKeys()))
    if policy is None:
        return database
    with told_clearly(database.path), database.transaction():
        filling = Filling(database)
        for record in (*policy.instances, *policy.groups):
            filling.put(replace(record, source=source))
        for spec in policy.identities:
            filling.put(replace(spec.identity(secrets.secrets(spec)), source=source))
        for key in (*policy.access_keys, *policy.device_credentials):
            filling.put(replace(key.record(secrets.secrets(key)), source=source))
        for record in (*policy.permissions, *policy.blacklist):
            filling.put(replace(record, source=source))
    return database


def _remarks(made: Plan, before: Policy | None, wanted: Policy) -> list[str]:
    found = []
    if before is not None and before.source != wanted.source:
        found.append(
            f"the policy's source changes from {before.source} to {wanted.source}: an apply would need --adopt "
            f"{before.source}, or leave the records of {before.source} as they are"
        )
    if made.removals and not wanted.sync.prune:
        found.append("sync.prune is off: an apply keeps what left the files, unless it is told --prune")
    return found

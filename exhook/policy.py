"""Policy files under `exhook serve --policy`: applied at the start, and again whenever they change.

A broken policy changes nothing: the last good state stays in force, loudly.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Final

from watchfiles import Change, awatch

from exhook import metrics
from exhook.logs import logger, rule_name
from exhook.settings import Settings
from store.changes import Operation
from store.database import Database
from store.records import InvalidRecord
from store.seal import SealKeys
from store.sync.apply import apply_policy
from store.sync.findings import InvalidPolicy
from store.sync.references import SecretSources
from store.sync.thresholds import Refused
from store.sync.wanted import UnresolvedSecrets
from store.unavailable import StoreUnavailable
from store.writing import OverQuota

SUFFIXES: Final = (".yaml", ".yml")

NOT_APPLIED: Final = (InvalidPolicy, UnresolvedSecrets, Refused, OverQuota, InvalidRecord)
"""What keeps a policy from being applied, through no fault of the store."""


class PolicyFiles:
    """The policy of one server."""

    def __init__(self, settings: Settings, keys: SealKeys) -> None:
        self.settings = settings
        self._keys = keys
        self._one_at_a_time = asyncio.Lock()

    async def apply_first(self) -> None:
        """Apply at the start. A broken policy stops a new server; one with a last good state goes on with it.

        Raises:
            InvalidPolicy, UnresolvedSecrets, Refused, OverQuota, StoreUnavailable: there is no state to go on with.
        """
        if self.settings.policy is None:
            return
        try:
            await self._apply()
        except NOT_APPLIED as error:
            with Database.open(self.settings.db, self._keys) as database:
                if database.revision == 0:
                    raise
            self._broken(error)

    async def apply(self) -> None:
        """Apply once more; what is broken is reported and changes nothing."""
        if self.settings.policy is None:
            return
        try:
            await self._apply()
        except (*NOT_APPLIED, StoreUnavailable) as error:
            self._broken(error)

    async def watch(self) -> None:
        """Apply whenever the files change; several changes in a moment count as one."""
        if self.settings.policy is None:
            return
        policy = self.settings.policy
        # The folder, not the file: editors and git put a new file in the old one's place.
        folder = policy if policy.is_dir() else policy.parent

        def is_policy(_: Change, path: str) -> bool:
            # The store may lie in the same folder, and changes whenever a policy is applied.
            return Path(path).suffix in SUFFIXES if policy.is_dir() else Path(path).name == policy.name

        async for _ in awatch(folder, watch_filter=is_policy, debounce=300, step=50, recursive=False):
            await self.apply()

    async def _apply(self) -> None:
        if self.settings.policy is None:
            return
        async with self._one_at_a_time:
            sources = SecretSources(os.environ, self.settings.secrets_dir, self.settings.allow_env)
            applied = await asyncio.to_thread(
                apply_policy, self.settings.db, self._keys, [self.settings.policy], sources, actor="exhook serve"
            )
        metrics.RELOADS.labels("good").inc()
        metrics.LAST_GOOD.set(time.time())
        metrics.POLICY_BROKEN.set(0)
        for warning in applied.policy.warnings:
            logger.warning("policy", warning=str(warning))
        plan = applied.plan
        logger.info(
            "policy in force",
            policy=str(self.settings.policy),
            revision=applied.revision,
            added=plan.count(Operation.ADD),
            changed=plan.count(Operation.CHANGE),
            removed=plan.count(Operation.REMOVE),
        )
        for record in plan.kept:
            logger.warning("left the policy and keeps its access: nothing is pruned", record=rule_name(record))

    def _broken(self, error: Exception) -> None:
        metrics.RELOADS.labels("broken").inc()
        metrics.POLICY_BROKEN.set(1)
        for line in str(error).splitlines():
            logger.error("policy not applied; the last good state stays in force", why=line)

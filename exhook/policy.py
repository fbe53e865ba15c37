"""Policy files under `exhook serve --policy`: applied at the start, and again whenever they change.

A broken policy changes nothing: the last good state stays in force, loudly.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Final

from exhook import metrics
from exhook.logs import error_place, logger, rule_name
from exhook.settings import Settings
from exhook.words import BROKEN, GOOD, leave_word
from store.changes import Operation
from store.database import Database
from store.names import InvalidRecord
from store.seal import SealError, SealKeys
from store.sync.apply import apply_policy
from store.sync.findings import InvalidPolicy
from store.sync.lint_off import ENV_RULE
from store.sync.references import SecretSources
from store.sync.thresholds import Refused
from store.sync.wanted import UnresolvedSecrets
from store.sync.watching import LOOK_SECONDS, FilesState, files_state
from store.unavailable import StoreUnavailable
from store.writing import OverQuota

NOT_APPLIED: Final = (InvalidPolicy, UnresolvedSecrets, Refused, OverQuota, InvalidRecord)
"""What keeps a policy from being applied, through no fault of the store."""

MOST_SAID: Final = 2_000
"""Characters of an error that `exhook status` shows; the log has all."""

RETRY_SECONDS: Final = 5.0
"""How long a store that could not be written is left alone."""


class PolicyFiles:
    """The policy of one server."""

    def __init__(self, settings: Settings, keys: SealKeys) -> None:
        self.settings = settings
        self._keys = keys
        self._one_at_a_time = asyncio.Lock()
        self._applied: FilesState | None = ()
        """The files that the last apply read; None where it is to be tried again."""

    @property
    def _paths(self) -> list[Path]:
        return [self.settings.policy] if self.settings.policy else []

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
            await self._broken(error)

    async def apply(self) -> None:
        """Apply once more; what is broken is reported and changes nothing."""
        try:
            await self._apply()
        except (*NOT_APPLIED, StoreUnavailable, SealError) as error:
            if isinstance(error, StoreUnavailable):
                self._applied = None
            await self._broken(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the last good state stays and the watch goes on
            await self._broken(RuntimeError(f"an internal error, which is a bug of exhook: {error_place(error)}"))

    async def watch(self) -> None:
        """Apply whenever the files are others than those applied last; several changes in a moment count as one.

        The files are looked at: no notice would come of a folder or a link that is put in another's place, as
        Kubernetes and releases do it, nor of what another machine writes.
        """
        seen = self._applied
        while True:
            await asyncio.sleep(LOOK_SECONDS if self._applied is not None else RETRY_SECONDS)
            last, seen = seen, await asyncio.to_thread(files_state, self._paths)
            if seen != self._applied and seen == last:
                await self.apply()

    async def _apply(self) -> None:
        async with self._one_at_a_time:
            self._applied = await asyncio.to_thread(files_state, self._paths)
            if self.settings.policy is None:
                return
            sources = SecretSources(
                os.environ, self.settings.secrets_dir, self.settings.allow_env, self.settings.private_files
            )
            applied = await asyncio.to_thread(
                apply_policy, self.settings.db, self._keys, [self.settings.policy], sources, actor="exhook serve"
            )
        metrics.RELOADS.labels("good").inc()
        metrics.LAST_GOOD.set(time.time())
        metrics.POLICY_BROKEN.set(0)
        await leave_word(self.settings.db, GOOD, {"policy": str(self.settings.policy), "revision": applied.revision})
        for warning in applied.policy.warnings:
            if self.settings.allow_env and warning.rule == ENV_RULE:
                continue
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

    async def _broken(self, error: Exception) -> None:
        metrics.RELOADS.labels("broken").inc()
        metrics.LAST_FAILED.set(time.time())
        metrics.POLICY_BROKEN.set(1)
        for line in str(error).splitlines():
            logger.error("policy not applied; the last good state stays in force", why=line)
        await leave_word(self.settings.db, BROKEN, {"policy": str(self.settings.policy), "why": str(error)[:MOST_SAID]})

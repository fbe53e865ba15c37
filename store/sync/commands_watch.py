"""The command `watch`: applies policy files now and whenever they change."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer
from prometheus_client import CollectorRegistry, Counter, Gauge, write_to_textfile

from store.changes import Operation
from store.names import InvalidRecord
from store.sync import options as opt
from store.sync.apply import apply_policy
from store.sync.console import complain, say
from store.sync.exit_codes import Usage
from store.sync.findings import InvalidPolicy
from store.sync.thresholds import Refused
from store.sync.wanted import UnresolvedSecrets
from store.sync.watching import watch as watch_files
from store.unavailable import StoreUnavailable
from store.writing import OverQuota

_NOT_APPLIED: Final = (InvalidPolicy, UnresolvedSecrets, Refused, OverQuota, InvalidRecord)
_RETRY_SECONDS: Final = 5.0

MetricsFile = Annotated[
    Path | None,
    typer.Option("--metrics-file", metavar="FILE", help="Keep metrics there, for Prometheus' textfile collector."),
]


class _Metrics:
    """What a watch tells Prometheus."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._registry = CollectorRegistry()
        self._applies = Counter(
            "exhook_sync_applies", "Policies found at a change, by result.", ["result"], registry=self._registry
        )
        self._good = Gauge(
            "exhook_sync_last_good_timestamp_seconds", "When the policy was last found good.", registry=self._registry
        )
        self._broken = Gauge("exhook_sync_policy_broken", "1 while the files are not applied.", registry=self._registry)

    def tell(self, *, good: bool) -> None:
        """Count one apply.

        Raises:
            Usage: the file cannot be written.
        """
        self._applies.labels("good" if good else "broken").inc()
        self._broken.set(not good)
        if good:
            self._good.set(time.time())
        if self._file is not None:
            try:
                write_to_textfile(str(self._file), self._registry)
            except OSError as error:
                raise Usage(f"{self._file}: cannot be written ({error.strerror}); name a file in a folder") from None


def watch(
    paths: opt.Paths,
    db: opt.Db = opt.DEFAULT_DB,
    seal_key_file: opt.SealKeyFile = None,
    secrets_dir: opt.SecretsDir = None,
    allow_env: opt.AllowEnv = False,
    metrics_file: MetricsFile = None,
    quiet: opt.Quiet = False,
) -> None:
    """Apply the files now and whenever they change; a broken policy leaves the last good one in force.

    Files may be edited in place, be put in another's place, or lie behind a link that is turned, as git-sync does
    it. Ends with exit 4 where a rollback holds the source.
    """
    keys, sources = opt.seal_keys(seal_key_file), opt.secret_sources(secrets_dir, allow_env, seal_key_file)
    metrics = _Metrics(metrics_file)
    warn = None if quiet else partial(opt.warn, allow_env=allow_env)

    def act() -> bool:
        try:
            done = apply_policy(db, keys, paths, sources, warn=warn)
        except (*_NOT_APPLIED, StoreUnavailable) as error:
            if isinstance(error, Refused) and any(refusal.rule == "held" for refusal in error.refusals):
                raise
            complain([*str(error).splitlines(), "not applied; the last good policy stays in force"])
            metrics.tell(good=False)
            if isinstance(error, StoreUnavailable):
                time.sleep(_RETRY_SECONDS)
                return False
            return True
        metrics.tell(good=True)
        if not quiet:
            added, changed, removed = (
                done.plan.count(operation) for operation in (Operation.ADD, Operation.CHANGE, Operation.REMOVE)
            )
            say(f"in force: revision {done.revision}: {added} added, {changed} changed, {removed} removed")
        return True

    watch_files(paths, act)

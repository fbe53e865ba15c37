"""Prometheus metrics. Labels are closed sets: no client, user or topic ever becomes one.

Only a secret that rotates is told by name, by the ids that its policy file gives it and its identity.

The processes of one server count together where ``PROMETHEUS_MULTIPROC_DIR`` is set before this module is
first imported; the supervisor sets it for itself and its workers, and serves the sum.
"""

import time
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from exhook.series import DecisionSeries
from store.decision import Decision, Reason
from store.records import Identity

_BOUNDS: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)

DECISIONS: Final = Counter("exhook_decisions", "Decisions, by hook, result and reason.", ["hook", "result", "reason"])
SECONDS: Final = Histogram(
    "exhook_decision_seconds",
    "Time from a request's message to its answer, in seconds.",
    ["hook"],
    buckets=_BOUNDS,
)
ERRORS: Final = Counter("exhook_hook_errors", "Requests denied because of an error of ours; one is one too many.")
SHED: Final = Counter("exhook_shed", "Password verifications shed because they would have come too late.")
HALF_OPEN: Final = Counter("exhook_half_open_calls", "Calls whose message never came.")
BREACHES: Final = Counter("exhook_transport_breaches", "Peers, or calls, cut short by a limit, by kind.", ["kind"])
REVISION: Final = Gauge(
    # By worker, of which there are a few: a sum or a minimum over processes would count those that died, too.
    "exhook_store_revision", "Revision of the store that a worker decides by.", ["worker"],
    multiprocess_mode="mostrecent",
)  # fmt: skip
COMMITTED: Final = Gauge(
    "exhook_store_committed_timestamp_seconds",
    "When the newest revision that a worker decides by was committed.",
    multiprocess_mode="livemax",
)
CACHE: Final = Counter("exhook_view_cache", "Records looked for in a worker's memory, by result.", ["result"])
CACHED: Final = Gauge(
    "exhook_view_cache_subjects", "Clients, users and groups whose records a worker holds in memory.", ["worker"],
    multiprocess_mode="mostrecent",
)  # fmt: skip
HASHING: Final = Gauge(
    "exhook_hashing_waiting", "Password verifications under way or in the queue of a worker.", ["worker"],
    multiprocess_mode="mostrecent",
)  # fmt: skip
CARRIER_ERRORS: Final = Counter(
    "exhook_carrier_errors", "Calls that ended without an answer of ours, by kind.", ["kind"]
)
DEATHS: Final = Counter(
    "exhook_process_deaths", "Processes of the server that died and were replaced, by what they were.", ["what"]
)
DENIALS_DROPPED: Final = Counter(
    "exhook_denials_dropped", "Denials that `exhook why` will not show, since too many came at once."
)
LINES_DROPPED: Final = Counter(
    "exhook_decision_lines_dropped", "Decisions without a line in the log, by why there is none.", ["why"]
)
TAIL_DROPPED: Final = Counter("exhook_tail_dropped", "Decisions that a slow `exhook tail` missed.")
RELOADS: Final = Counter(
    "exhook_policy_reloads", "Policies applied at the start or on a change, by result.", ["result"]
)
LAST_GOOD: Final = Gauge(
    "exhook_policy_last_good_timestamp_seconds", "When a policy was last found good.", multiprocess_mode="livemax"
)
LAST_FAILED: Final = Gauge(
    "exhook_policy_last_failed_timestamp_seconds",
    "When a policy was last found broken.",
    multiprocess_mode="livemax",
)
POLICY_BROKEN: Final = Gauge(
    "exhook_policy_broken",
    "1 while the policy files are broken and the last good state stands.",
    multiprocess_mode="livemax",
)
API_CALLS: Final = Counter(
    "exhook_api_calls", "Calls of the management API, by action and code (`success`, or why it was refused).",
    ["action", "code"],
)  # fmt: skip
API_STRANGERS: Final = Counter("exhook_api_strangers", "Callers of the management API that TLS did not let in.")
CERTIFICATE_EXPIRES: Final = Gauge(
    "exhook_certificate_expires_timestamp_seconds",
    "Until when the certificate that a listener shows is good, and the CA of those who connect to it.",
    ["listener", "file"],
    multiprocess_mode="mostrecent",
)
CERTIFICATE_BROKEN: Final = Gauge(
    "exhook_certificate_broken",
    "1 while a listener's certificate files are broken and the last good ones are in use.",
    ["listener"],
    multiprocess_mode="mostrecent",
)
SECRET_USED: Final = Gauge(
    "exhook_secret_last_used_timestamp_seconds",
    "When a secret last let a client in, of identities that have an id and two secrets.",
    ["instance", "identity", "secret"],
    multiprocess_mode="max",  # over the processes that died, too
)

REVOKED: Final = Counter(
    "exhook_revocations", "Who lost something, dealt with on a cluster, by what came of it.", ["cluster", "result"]
)
ENDED: Final = Counter("exhook_revocation_ended", "Sessions and subscriptions that were ended.", ["cluster", "what"])
WAITING: Final = Gauge(
    "exhook_revocations_waiting", "Revocations still to be done on a cluster.", ["cluster"],
    multiprocess_mode="mostrecent",
)  # fmt: skip
FAILED: Final = Gauge(
    "exhook_revocations_failed", "Revocations that a cluster's API would not do.", ["cluster"],
    multiprocess_mode="mostrecent",
)  # fmt: skip
REVOCATION_SECONDS: Final = Histogram(
    "exhook_revocation_seconds",
    "Time from a commit until what it took away was taken from live sessions, in seconds.",
    ["cluster"],
    buckets=(0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0, 300.0, 3600.0),
)
API_UP: Final = Gauge(
    "exhook_emqx_api_up", "1 while a cluster's management API can be used.", ["cluster"],
    multiprocess_mode="mostrecent",
)  # fmt: skip
API_FAULTS: Final = Counter(
    "exhook_emqx_api_faults", "Calls of a cluster's API that came to nothing, by kind.", ["cluster", "kind"]
)

MAX_SECRETS: Final = 200
"""Secrets that one process tells of: those that were used first."""

_USED: Final[dict[tuple[str, str, str], Gauge]] = {}
_SERIES: Final[dict[tuple[str, bool, bool, str], DecisionSeries]] = {}
"""Series by what is counted: to find one by its labels takes as long as to count."""
_ALLOWED: Final[dict[str, DecisionSeries]] = {}
"""By hook, what was allowed by a session."""


def count(hook: str, decision: Decision, seconds: float) -> None:
    """Count one answer; `write` makes it seen."""
    series = _SERIES.get((hook, decision.allow, decision.passed_on, decision.reason.value))
    if series is None:
        result = "allow" if decision.allow else "pass" if decision.passed_on else "deny"
        series = _new_series(hook, result, decision.reason)
        _SERIES[hook, decision.allow, decision.passed_on, decision.reason.value] = series
    series.count(seconds)
    if decision.reason in (Reason.INTERNAL_ERROR, Reason.STORE_UNAVAILABLE):
        ERRORS.inc()
    elif decision.reason is Reason.OVERLOADED:
        SHED.inc()
    if decision.secret_id and isinstance(decision.rule, Identity) and len(decision.rule.secrets) > 1:
        used(decision.rule, decision.secret_id, time.time())


def count_allowed(hook: str, seconds: float) -> None:
    """Count one answer whose decision nobody wants to see."""
    if (series := _ALLOWED.get(hook)) is None:
        series = _ALLOWED[hook] = _new_series(hook, "allow", Reason.ALLOWED)
    series.count(seconds)


def _new_series(hook: str, result: str, reason: Reason) -> DecisionSeries:
    return DecisionSeries(DECISIONS.labels(hook, result, reason.value), SECONDS.labels(hook), _BOUNDS)


def write() -> None:
    """Bring what was counted to where all processes count together."""
    for series in (*_SERIES.values(), *_ALLOWED.values()):
        series.write()


def used(identity: Identity, secret_id: str, now: float) -> None:
    """Note that a secret let a client in; `now` is in seconds since the epoch."""
    if not identity.id:
        return  # its user name is no label
    named = (identity.instance, identity.id, secret_id)
    if (series := _USED.get(named)) is None:
        if len(_USED) >= MAX_SECRETS:
            return
        series = _USED[named] = SECRET_USED.labels(*named)
    series.set(now)

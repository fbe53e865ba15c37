"""Runs policy tests: the decision core is asked about a store made from the files, at the moment each test names."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from store.account_records import Token
from store.decision import Decision, Reason, authorize, conclude, instance_of, select
from store.reader import Reader
from store.records import Action, Identity, SignMode
from store.sync.case import AskedToken, Asker, Case, Expectation
from store.sync.decided import Request
from store.sync.policy import Policy
from store.sync.rehearsal import rehearsal
from store.sync.stand_ins import without_secrets
from store.sync.wording import handle
from store.token_mode import Binding, BoundToken
from store.token_text import TokenKeys
from store.verdict import Prover
from store.view import Client, Listener, View

_LISTENER = "test"
_NEVER: Final = 2**62
"""A token of a test holds at whatever moment the test names."""


class Status(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    """Something else was decided."""
    ERROR = "error"
    """What was decided says nothing: the client could not even connect, or the topic is not legal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One expectation, and what came of it."""

    expectation: Expectation
    decision: Decision
    """Where the client could not connect, that of the CONNECT."""
    status: Status
    complaint: str = ""
    """What is wrong; empty where nothing is."""

    @property
    def request(self) -> Request:
        """What was decided."""
        asked = self.expectation
        if self.status is Status.ERROR and self.decision.reason is not Reason.INVALID_TOPIC:
            return Request(client_id=asked.asker.client_id, action=None)
        return Request(client_id=asked.asker.client_id, action=asked.action, topic=asked.topic)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test, and what came of it."""

    case: Case
    checks: tuple[Check, ...]

    @property
    def status(self) -> Status:
        """FAILED where anything failed, else ERROR where anything was one."""
        found = {check.status for check in self.checks}
        return next((one for one in (Status.FAILED, Status.ERROR) if one in found), Status.PASSED)

    @property
    def wrong(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.status is not Status.PASSED)


def run_tests(policy: Policy, now_ms: int) -> tuple[Outcome, ...]:
    """The outcome of every test of a policy; one that names no moment asks as of `now_ms`.

    No secret is needed: a client's password is taken to be right.

    Raises:
        StoreUnavailable: no temporary file can be written.
    """
    askers = [(one.asker.username, one.asker.client_id) for case in policy.cases for one in case.expectations]
    with rehearsal(policy, askers, without_secrets) as reader:
        core = _Core(reader, policy.default_instance)
        return tuple(Outcome(case, tuple(_checks(core, case, now_ms))) for case in policy.cases)


def _checks(core: "_Core", case: Case, now_ms: int) -> Iterator[Check]:
    at_ms = now_ms if case.at_ms is None else case.at_ms
    connects: dict[Asker, Decision] = {}
    for expectation in case.expectations:
        asker = expectation.asker
        if asker not in connects:
            connects[asker] = core.connect(asker, at_ms)
        if expectation.action is None:
            yield _judged(expectation, connects[asker])
        elif connects[asker].allow:
            yield _judged(expectation, core.authorize(asker, expectation.action, expectation.topic, at_ms))
        else:
            complaint = (
                f"{asker.name} cannot even connect ({connects[asker].reason}), so what it may do says nothing; "
                "mend the client, or write `cannot: {connect: true}` alone"
            )
            yield _error(expectation, connects[asker], complaint)


class _Core:
    """The decision core, asked as a server asks it."""

    def __init__(self, reader: Reader, default_instance: str) -> None:
        self._reader = reader
        self._instance = reader.only_instance() or default_instance

    def connect(self, asker: Asker, at_ms: int) -> Decision:
        """Whether the client gets in, if its proof succeeds: its password's, or that of the broker."""
        view, client = self._view(asker)
        found = select(view, client, None, at_ms)
        if isinstance(found, Decision):
            return found
        if client.listener.external and _proven_by_broker(found.identity, at_ms):
            return Decision(allow=True, reason=Reason.ALLOWED, revision=found.revision, rule=found.identity)
        return conclude(found, "" if found.verdict is Reason.ALLOWED else None)

    def authorize(self, asker: Asker, action: Action, topic: str, at_ms: int) -> Decision:
        view, client = self._view(asker)
        return authorize(view, client, action, topic, at_ms)

    def _view(self, asker: Asker) -> tuple[View, Client]:
        instance = asker.instance or self._instance
        listener = Listener(_LISTENER, instance, external=asker.external)
        client = Client(asker.username_in(instance), asker.client_id, listener, asker.cn, asker.address)
        view = self._reader.view(instance_of(client), client)
        return (_showing(asker.token, view, client) if asker.token else view), client


def _showing(asked: AskedToken, view: View, client: Client) -> View:
    """The view of a client that a token was issued to, and bound to."""
    account = view.account
    if account is None:
        return view
    name = account.name
    token = Token(
        token_id=_LISTENER,
        instance=name.instance,
        access_key_id=name.key_id,
        actions=asked.actions,
        resources=asked.resources,
        expires_at=_NEVER,
    )
    bound = BoundToken(asked.actions.name, token.token_id, _LISTENER, _NEVER)
    return replace(
        view,
        account=replace(
            account,
            tokens={token.token_id: token},
            token_keys=TokenKeys({_LISTENER: b""}),
            binding=Binding(name.instance, name.key_id, (bound,), client.address, client.port),
        ),
    )


def _proven_by_broker(identity: Prover | None, at_ms: int) -> bool:
    """Whether the broker's own proof lets it in: no password is asked for then."""
    return isinstance(identity, Identity) and identity.sign_mode is SignMode.EXTERNAL and identity.in_force(at_ms)


def _error(expected: Expectation, decision: Decision, complaint: str) -> Check:
    return Check(expectation=expected, decision=decision, status=Status.ERROR, complaint=complaint)


def _judged(expected: Expectation, decision: Decision) -> Check:
    if decision.reason is Reason.INVALID_TOPIC and expected.reason != Reason.INVALID_TOPIC:
        mend = "write a legal one, or expect `reason: invalid_topic`"
        return _error(expected, decision, f"nobody at all can {said_of(expected)}, which is not legal; {mend}")
    complaint = _complaint(expected, decision)
    status = Status.FAILED if complaint else Status.PASSED
    return Check(expectation=expected, decision=decision, status=status, complaint=complaint)


def _complaint(expected: Expectation, decision: Decision) -> str:
    """What is wrong; nothing where all is as expected."""
    what = said_of(expected)
    # What is passed on, the broker's own chain may allow: it is neither granted nor refused.
    passed_on = decision.passed_on and expected.reason != Reason.NO_MATCH
    if passed_on or decision.allow is not expected.allow:
        if passed_on:
            return f"{expected.asker.name} would {what}: passed on to the broker's own chain, which may say anything"
        may, why = ("may", "") if decision.allow else ("may not", f" ({decision.reason})")
        return f"{expected.asker.name} {may} {what}{why}, and {'should' if expected.allow else 'should not'}"
    if expected.reason and decision.reason != expected.reason:
        return f"{expected.asker.name} may not {what}: {decision.reason}, where {expected.reason} is expected"
    rule = handle(decision.rule) if decision.rule else ""
    if expected.rule and rule != expected.rule:
        may = "may" if expected.allow else "may not"
        decided = f"{rule} decides" if rule else f"no rule decides ({decision.reason})"
        return f"{expected.asker.name} {may} {what}: {decided}, where {expected.rule} is expected"
    return ""


_VERBS: Mapping[Action | None, str] = {None: "connect", Action.PUB: "publish to", Action.SUB: "subscribe to"}


def said_of(expected: Expectation) -> str:
    """The request in a few words."""
    return _VERBS[expected.action] + (f" {expected.topic!r}" if expected.action else "")

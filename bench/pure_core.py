"""Decisions of the pure core: a view in memory, no store, no wire."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Final, NamedTuple

from tables import Table, median_ratio, timed

from store.credentials import hash_password, sign, verify
from store.decision import Decision, authorize, conclude, select
from store.grants import GrantIndex
from store.records import (
    Action,
    Effect,
    Grantee,
    Identity,
    IdentityType,
    Instance,
    Permission,
    Secret,
    SecretForm,
    SignMode,
)
from store.topics import Levels, levels_cover, levels_overlap, parse_publication, parse_subscription
from store.view import Client, Listener, View, Works

SIZES: Final = (1, 100, 10_000)

_INSTANCE: Final = "mqtt-bench"
_NOW: Final = 1_800_000_000_000
_CLIENT: Final = Client("u1", "c1", Listener("default", _INSTANCE))
_ASKS: Final = 300
_NAIVE_TESTS: Final = 30_000
"""So many filters a round the baseline looks at, in ten thousand permissions as in one."""

_SHAPES: Final = (
    # Filter of a permission; what to ask: PUBLISH allowed, refused, SUBSCRIBE allowed, refused.
    ("state", "state", "state/none", "state", "#"),
    ("+/temp", "m1/temp", "m1/pressure", "+/temp", "+/pressure"),
    ("in/#", "in/a/b", "out/a/b", "in/+/b", "+/a/b"),
)


class Ask(NamedTuple):
    action: Action
    topic: str
    allowed: bool


_Run = tuple[Callable[[Ask], bool], Sequence[Ask]]
"""What decides, and what it is asked."""


def authorizing(rounds: int) -> Table:
    """PUBLISH and SUBSCRIBE for 1, 100 and 10,000 permissions, beside a scan of all of them."""
    table = Table(
        "Pure core: authorize, view cached",
        ("permissions, action, answer", "decisions/s", "µs", "naive scan µs", "times as fast"),
        "By CPU time. The naive scan tests every filter with `store.topics.levels_cover`. A refusal also finds the "
        "nearest grant.",
    )
    for size in SIZES:
        permissions = [grant(number) for number in range(size)]
        denial = grant(0, topic="plant/private/#", effect=Effect.DENY, grantee=Grantee.ALL)
        view = _view(permissions, denial)
        parsed = [(one.pattern().widest, one) for one in (denial, *permissions)]
        for action in (Action.PUB, Action.SUB):
            for allowed in (True, False):
                asks = [_ask(number * size // _ASKS, action, allowed) for number in range(_ASKS)]
                some = asks[:: max(1, size * _ASKS // _NAIVE_TESTS)]
                ours, naive = _against(table, (_decide(view), asks), (_scan(parsed), some), rounds)
                name = f"{size:,}, {'PUBLISH' if action is Action.PUB else 'SUBSCRIBE'}, "
                name += "allowed" if allowed else "refused"
                table.add(name, 1 / median(ours), median(ours) * 1e6, median(naive) * 1e6, median_ratio(naive, ours))
    return table


def authenticating(rounds: int) -> Table:
    """The three steps of an authentication, beside the verification alone."""
    table = Table(
        "Pure core: authenticate (select, verify, conclude), view cached",
        ("sign mode, answer", "decisions/s", "µs", "verify alone µs", "times verify"),
        "By CPU time. argon2id runs in a pool of threads and is remembered for a minute; here it is what one "
        "verification costs.",
    )
    argon2 = hash_password(b"password").encode()
    for mode, value, password in (
        (SignMode.ORIGIN, b"password", b"password"),
        (SignMode.SIGNED, b"key", sign(b"key", _CLIENT.client_id)),
        (SignMode.HASHED, argon2, b"password"),
    ):
        secret = Secret(id="1", value=value, form=_form(mode), fingerprint="")
        view = _view([], grant(0), _identity(mode, secret))
        slow = mode is SignMode.HASHED
        for allowed in (True, False):
            asks = [password if allowed else b"not " + password] * (1 if slow else _ASKS)
            ours, alone = _against_verify(table, view, asks, secret, rounds=rounds, allowed=allowed)
            name = f"{mode.value}{' (argon2id)' if slow else ''}, {'allowed' if allowed else 'wrong password'}"
            table.add(name, 1 / median(ours), median(ours) * 1e6, median(alone) * 1e6, median_ratio(ours, alone))
    return table


def naive_scan(permissions: Sequence[tuple[Levels, Permission]], action: Action, topic: str) -> bool:
    """What the decision core must come to, by looking at every permission: DENY first, then ALLOW, else no."""
    asked = (parse_publication if action is Action.PUB else parse_subscription)(topic, emqx=True)
    reaches = levels_overlap if action is Action.SUB else levels_cover
    return not any(
        one.effect is Effect.DENY and one.action.includes(action) and one.in_force(_NOW) and reaches(levels, asked)
        for levels, one in permissions
    ) and any(
        one.effect is Effect.ALLOW
        and one.action.includes(action)
        and one.in_force(_NOW)
        and levels_cover(levels, asked)
        for levels, one in permissions
    )


def _decide(view: View) -> Callable[[Ask], bool]:
    return lambda ask: authorize(view, _CLIENT, ask.action, ask.topic, _NOW).allow


def _scan(permissions: Sequence[tuple[Levels, Permission]]) -> Callable[[Ask], bool]:
    return lambda ask: naive_scan(permissions, ask.action, ask.topic)


def _against(table: Table, ours: _Run, other: _Run, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds per ask of both, round by round in turn."""
    figures: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for (run, asks), figure in zip((ours, other), figures, strict=True):
            seconds, answers = timed(run, asks)
            table.check(answers, [ask.allowed for ask in asks])
            figure.append(seconds)
    return figures


def _against_verify(
    table: Table, view: View, asks: Sequence[bytes], secret: Secret, *, rounds: int, allowed: bool
) -> tuple[list[float], list[float]]:
    assert view.user is not None
    mode = view.user.sign_mode

    def decide(password: bytes) -> bool:
        found = select(view, _CLIENT, password, _NOW)
        if isinstance(found, Decision):
            return found.allow
        return conclude(found, verify(found.mode, found.secrets, found.client_id, password)).allow

    def prove(password: bytes) -> bool:
        return verify(mode, (secret,), _CLIENT.client_id, password) is not None

    figures: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for run, figure in zip((decide, prove), figures, strict=True):
            seconds, answers = timed(run, asks)
            table.check(answers, [allowed] * len(asks))
            figure.append(seconds)
    return figures


def _ask(number: int, action: Action, allowed: bool) -> Ask:
    shape = _SHAPES[number % len(_SHAPES)]
    place = (1 if action is Action.PUB else 3) + (0 if allowed else 1)
    return Ask(action, f"plant/line{number}/{shape[place]}", allowed)


def grant(
    number: int, *, topic: str = "", effect: Effect = Effect.ALLOW, grantee: Grantee = Grantee.USER
) -> Permission:
    return Permission(
        instance=_INSTANCE,
        identity_type=grantee,
        identity=_CLIENT.username if grantee is Grantee.USER else "",
        topic=topic or f"plant/line{number}/{_SHAPES[number % len(_SHAPES)][0]}",
        action=Action.PUB_SUB,
        effect=effect,
    )


def _identity(mode: SignMode, secret: Secret) -> Identity:
    return Identity(
        instance=_INSTANCE,
        identity_type=IdentityType.USER,
        username=_CLIENT.username,
        sign_mode=mode,
        secrets=(secret,),
    )


def _form(mode: SignMode) -> SecretForm:
    return SecretForm.HASH if mode is SignMode.HASHED else SecretForm.KEY


def _view(permissions: list[Permission], of_everyone: Permission, user: Identity | None = None) -> View:
    nothing = GrantIndex(())
    return View(
        revision=1,
        instance=Instance(name=_INSTANCE),
        group=None,
        blacklist=(),
        owners=(),
        user=user or _identity(SignMode.ORIGIN, Secret(id="1", value=b"x", fingerprint="")),
        user_grants=GrantIndex(permissions) if permissions else nothing,
        client_grants=nothing,
        group_grants=nothing,
        all_grants=GrantIndex([of_everyone]),
        works=Works((), b""),
    )

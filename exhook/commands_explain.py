"""The commands `explain … connect`, `publish TOPIC`, `subscribe FILTER`."""

import base64
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from exhook.explaining import CannotSay, Question, answer, as_json, as_text
from exhook.listeners import DEFAULT, Listeners
from exhook.options import Config, Db, SealKeyFile
from exhook.settings import Settings, load_settings
from store.clock import now_ms
from store.decision import Reason
from store.reader import Reader
from store.records import Action, Identity, Record, SecretForm, SignMode
from store.seal import SealError, SealKeys
from store.sync.apply import apply_policy
from store.sync.document import load_policy
from store.sync.exit_codes import Usage
from store.sync.references import SecretReference, SecretSources, UnresolvedSecret
from store.sync.thresholds import Consent
from store.unavailable import StoreUnavailable

explain_app: Final = typer.Typer(
    help="Say how a request would be decided, and why. Exit code: 0 allow, 1 deny, 2 cannot say.",
    epilog="Example: exhook explain --username sensors --client-id meter-1 subscribe 'plant/#'",
    rich_markup_mode=None,
)


@dataclass
class _Asked:
    question: Question
    settings: Settings
    policy: Path | None
    json: bool


_Ask = Callable[[], _Asked]
"""Reads settings and password: put off until the command is known, which may be one for its help."""


@explain_app.callback()
def explain(
    context: typer.Context,
    client_id: Annotated[str | None, typer.Option(help="The client id; required.")] = None,
    username: Annotated[str, typer.Option(help="The user name.")] = "",
    instance: Annotated[str | None, typer.Option(help="The instance; the listener's if left out.")] = None,
    address: Annotated[str, typer.Option(help="The client's address.")] = "",
    cn: Annotated[str, typer.Option(help="Common name of the client's certificate.")] = "",
    listener: Annotated[str, typer.Option(help="Name of a listener in the settings file.")] = DEFAULT,
    at: Annotated[str | None, typer.Option(help="When: 2027-01-31T12:00:00Z; now if left out.")] = None,
    policy: Annotated[Path | None, typer.Option(help="Ask these files instead of a store.")] = None,
    config: Config = None,
    db: Db = None,
    seal_key_file: SealKeyFile = None,
    *,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from here.")] = False,
    json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Say how a request would be decided, and why. Exit code: 0 allow, 1 deny, 2 cannot say."""

    def ask() -> _Asked:
        if client_id is None:
            raise Usage("whom to explain? name the client by --client-id, before connect, publish or subscribe")
        flags = {"db": db, "instance": instance, "seal_key_file": seal_key_file}
        settings = load_settings(flags, os.environ, config)
        question = Question(
            client_id=client_id,
            username=username,
            action=None,
            password=sys.stdin.buffer.read().removesuffix(b"\n").removesuffix(b"\r") if password_stdin else None,
            address=address,
            cn=cn,
            listener=listener,
            instance=settings.instance,
            at_ms=_moment(at) if at else now_ms(),
        )
        return _Asked(question, settings, policy, json)

    context.obj = ask


@explain_app.command(epilog="Example: exhook explain --username sensors --client-id meter-1 connect")
def connect(context: typer.Context) -> None:
    """Would it be let in?"""
    _explain(context.obj)


@explain_app.command(epilog="Example: exhook explain --username sensors --client-id meter-1 publish plant/up")
def publish(context: typer.Context, topic: Annotated[str, typer.Argument(help="The topic.")]) -> None:
    """Might it publish to TOPIC?"""
    _explain(context.obj, Action.PUB, topic)


@explain_app.command(epilog="Example: exhook explain --username sensors --client-id meter-1 subscribe 'plant/#'")
def subscribe(context: typer.Context, filter: Annotated[str, typer.Argument(help="The filter.")]) -> None:  # noqa: A002 - the field's own word
    """Might it subscribe to FILTER?"""
    _explain(context.obj, Action.SUB, filter)


def _explain(ask: _Ask, action: Action | None = None, topic: str = "") -> None:
    asked = ask()
    listeners = Listeners(asked.settings.listeners)
    listener = listeners.named(asked.question.listener, "")
    question = replace(asked.question, action=action, topic=topic, emqx=listener is None or listener.emqx)
    sources = _WhatCanBeHad(asked.settings)
    try:
        with _store(asked, sources) as (path, keys), closing(Reader(path, keys)) as reader:
            decision = answer(reader, listeners, question)
    except (StoreUnavailable, SealError) as error:
        raise CannotSay(str(error)) from None
    if decision.reason is Reason.WRONG_PASSWORD and (missing := sources.missing_of(decision.rule)):
        raise CannotSay(f"the password could not be compared: {missing}")
    typer.echo(as_json(decision, question) if asked.json else as_text(decision, question))
    raise typer.Exit(0 if decision.allow else 1)


@contextmanager
def _store(asked: _Asked, sources: "_WhatCanBeHad") -> Iterator[tuple[Path, SealKeys]]:
    """The store to ask: the real one, or one made for the moment from policy files."""
    if asked.policy is None:
        yield asked.settings.db, SealKeys.from_environment(os.environ, asked.settings.seal_key_file)
        return
    with tempfile.TemporaryDirectory(prefix="exhook-explain-") as folder:
        path = Path(folder) / "explain.db"
        # A store of its own, with the label that the policy asks for.
        consent = Consent(label=load_policy([asked.policy]).sync.environment, allow_empty=True)
        apply_policy(path, SealKeys(), [asked.policy], sources, consent=consent, actor="exhook explain")
        yield path, SealKeys()


class _WhatCanBeHad(SecretSources):
    """Secrets as far as they can be had here: who may publish what does not hang on them."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(os.environ, settings.secrets_dir, settings.allow_env)
        object.__setattr__(self, "_missing", {})

    _missing: dict[bytes, UnresolvedSecret]
    """What could not be had, by the value that stands in for it."""

    def missing_of(self, record: Record | None) -> UnresolvedSecret | None:
        """What could not be had of an identity's secrets."""
        secrets = record.secrets if isinstance(record, Identity) else ()
        return next((self._missing[secret.value] for secret in secrets if secret.value in self._missing), None)

    def resolve(self, reference: SecretReference, sign_mode: SignMode) -> tuple[bytes, SecretForm]:
        try:
            return super().resolve(reference, sign_mode)
        except UnresolvedSecret as unresolved:
            hashed = sign_mode is SignMode.HASHED
            stand_in = _a_hash_that_nobody_knows() if hashed else os.urandom(32)
            self._missing[stand_in] = unresolved
            return stand_in, SecretForm.HASH if hashed else SecretForm.KEY


def _a_hash_that_nobody_knows() -> bytes:
    return b"$6$" + base64.b64encode(os.urandom(12)) + b"$" + base64.b64encode(os.urandom(64))


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Usage(f"--at {text!r}: no moment; write 2027-01-31T12:00:00Z") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)

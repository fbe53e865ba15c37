"""The commands `explain … connect`, `publish TOPIC`, `subscribe FILTER`."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import typer

from exhook.explaining import CannotSay, Question, answer, as_json, as_text
from exhook.listeners import DEFAULT, Listeners
from exhook.moments import moment_of
from exhook.options import Config, Db, SealKeyFile
from exhook.settings import Settings, load_settings
from store.clock import now_ms
from store.credentials import hash_password
from store.decision import Reason
from store.reader import Reader
from store.records import Action, Record, Secret, SecretForm
from store.seal import SealError, SealKeys
from store.sync.document import load_policy
from store.sync.exit_codes import Usage
from store.sync.policy import Spec
from store.sync.provenance import commit_of
from store.sync.references import SecretReference, SecretSources, UnresolvedSecret
from store.sync.rehearsal import rehearsal
from store.sync.stand_ins import unprovable
from store.tables import WITH_SECRETS
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
            at_ms=moment_of(at, "--at") if at else now_ms(),
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
    secrets = _WhatCanBeHad(asked.settings)
    try:
        with _reader(asked, secrets) as reader:
            decision = answer(reader, listeners, question)
    except (StoreUnavailable, SealError) as error:
        raise CannotSay(str(error)) from None
    if decision.reason is Reason.WRONG_PASSWORD and (missing := secrets.missing_of(decision.rule)):
        raise CannotSay(f"the password could not be compared: {missing}")
    typer.echo(as_json(decision, question) if asked.json else as_text(decision, question))
    raise typer.Exit(0 if decision.allow else 1)


@contextmanager
def _reader(asked: _Asked, secrets: "_WhatCanBeHad") -> Iterator[Reader]:
    """The store to ask: the real one, or one made for the moment from policy files."""
    if asked.policy is None:
        keys = SealKeys.from_environment(os.environ, asked.settings.seal_key_file)
        with closing(Reader(asked.settings.db, keys)) as reader:
            yield reader
        return
    policy = load_policy([asked.policy], commit=commit_of([asked.policy]))
    who = (asked.question.username, asked.question.client_id)
    with rehearsal(policy, [who], secrets.record) as reader:
        yield reader


class _WhatCanBeHad:
    """Secrets as far as they can be had here: who may publish what does not hang on them."""

    def __init__(self, settings: Settings) -> None:
        self._sources = SecretSources(os.environ, settings.secrets_dir, settings.allow_env, settings.private_files)
        self._missing: dict[bytes, UnresolvedSecret] = {}

    def missing_of(self, record: Record | None) -> UnresolvedSecret | None:
        """What could not be had of a record's secrets."""
        secrets = record.secrets if isinstance(record, WITH_SECRETS) else ()
        return next((self._missing[secret.value] for secret in secrets if secret.value in self._missing), None)

    def record(self, spec: Spec) -> Record:
        """The record; what cannot be had is a secret that no password proves."""
        return spec.record(tuple(self._secret(spec, one) for one in spec.secrets))

    def _secret(self, spec: Spec, reference: SecretReference) -> Secret:
        secret = unprovable(spec, reference)
        try:
            value, form = self._sources.resolve(reference, spec.sign_mode)
        except UnresolvedSecret as unresolved:
            self._missing[secret.value] = unresolved
            return secret
        if form is SecretForm.PLAIN:
            value, form = hash_password(value).encode(), SecretForm.HASH
        return replace(secret, value=value, form=form)

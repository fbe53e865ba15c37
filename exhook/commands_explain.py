"""The commands `explain … connect`, `publish TOPIC`, `subscribe FILTER`."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
from store.reader import Reader
from store.records import Action, SecretForm, SignMode
from store.seal import SealKeys
from store.sync.apply import apply_policy
from store.sync.document import load_policy
from store.sync.exit_codes import Usage
from store.sync.references import SecretReference, SecretSources, UnresolvedSecret
from store.sync.thresholds import Consent

explain_app: Final = typer.Typer(
    help="Say how a request would be decided, and why. Exit code: 0 allow, 1 deny, 2 cannot say.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_NOBODY_KNOWS: Final = b"$6$AAAAAAAAAAAAAAAA$" + b"A" * 86 + b"=="
"""A hash that stands in for a secret that cannot be had: nothing proves it."""


@dataclass
class _Asked:
    question: Question
    settings: Settings
    policy: Path | None
    json: bool


@explain_app.callback()
def explain(
    context: typer.Context,
    client_id: Annotated[str, typer.Option(help="The client id.")],
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
    context.obj = _Asked(question, settings, policy, json)


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


def _explain(asked: _Asked, action: Action | None = None, topic: str = "") -> None:
    question = replace(asked.question, action=action, topic=topic)
    keys = SealKeys.from_environment(os.environ, asked.settings.seal_key_file)
    listeners = Listeners(asked.settings.listeners)
    sources = _WhatCanBeHad(asked.settings)
    with _store(asked, keys, sources) as (path, own_keys):
        reader = Reader(path, own_keys)
        try:
            decision = answer(reader, listeners, question)
        finally:
            reader.close()
    if action is None and not decision.allow and decision.reason == "wrong_password" and sources.missing:
        raise CannotSay(f"the password could not be compared: {sources.missing[0]}")
    typer.echo(as_json(decision, question) if asked.json else as_text(decision, question))
    raise typer.Exit(0 if decision.allow else 1)


@contextmanager
def _store(asked: _Asked, keys: SealKeys, sources: "_WhatCanBeHad") -> Iterator[tuple[Path, SealKeys]]:
    """The store to ask: the real one, or one made for the moment from policy files."""
    if asked.policy is None:
        yield asked.settings.db, keys
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
        object.__setattr__(self, "missing", [])

    missing: list[UnresolvedSecret]

    def resolve(self, reference: SecretReference, sign_mode: SignMode) -> tuple[bytes, SecretForm]:
        try:
            return super().resolve(reference, sign_mode)
        except UnresolvedSecret as unresolved:
            self.missing.append(unresolved)
            if sign_mode is SignMode.HASHED:
                return _NOBODY_KNOWS, SecretForm.HASH
            return os.urandom(32), SecretForm.KEY


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Usage(f"--at {text!r}: no moment; write 2027-01-31T12:00:00Z") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)

"""Imports, brought into a real store, and asked by real decisions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ruamel.yaml import YAML

from store.credentials import verify
from store.decision import Challenge, authorize, conclude, select
from store.grants import GrantIndex
from store.reader import Reader
from store.records import Action, Grantee, Secret
from store.seal import SealKeys
from store.sync.apply import apply_policy
from store.sync.document import load_policy
from store.sync.importing.dynamic_security import import_dynamic_security
from store.sync.importing.emqx_acl import import_acl as import_emqx_acl
from store.sync.importing.imported import Imported
from store.sync.importing.leftovers import Sort
from store.sync.importing.mosquitto_acl import import_acl as import_mosquitto_acl
from store.sync.importing.original import Original
from store.sync.importing.writing import policy_text
from store.sync.references import SecretSources
from store.sync.thresholds import Consent
from store.view import Client, Listener, View, Works

NOW = 1_800_000_000_000
PUB, SUB = Action.PUB, Action.SUB
INSTANCE = "mqtt-default"


class Asked:
    """Policy files that can be asked; each client's view is put together once."""

    def __init__(self, *, emqx: bool) -> None:
        self._listener = Listener("tcp", INSTANCE, emqx=emqx)
        self._views: dict[Client, View] = {}

    def may(self, username: str, client_id: str, action: Action, topic: str) -> bool:
        client = Client(username, client_id, self._listener)
        if client not in self._views:
            self._views[client] = self.view(client)
        return authorize(self._views[client], client, action, topic, NOW).allow

    def connects(self, username: str, client_id: str, password: bytes) -> bool:
        client = Client(username, client_id, self._listener)
        found = select(self.view(client), client, password, NOW)
        if isinstance(found, Challenge):
            return conclude(found, verify(found.mode, found.secrets, client_id, password)).allow
        return found.allow

    def view(self, client: Client) -> View:
        raise NotImplementedError


class Stored(Asked):
    """A store, open for questions; to be closed."""

    def __init__(self, path: Path, *, emqx: bool = True) -> None:
        super().__init__(emqx=emqx)
        self._reader = Reader(path, SealKeys())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def view(self, client: Client) -> View:
        return self._reader.view(INSTANCE, client)


class Installed(Stored):
    """A new store to which some policy files were applied."""

    def __init__(self, folder: Path, *texts: str, users: Sequence[str] = (), emqx: bool = True) -> None:
        path = folder / "exhook.db"
        files = _files(folder, [*texts, _users(users)])
        sources = SecretSources(environ={}, secrets_dir=None)
        apply_policy(path, SealKeys(), files, sources, consent=Consent(allow_empty=True), now_ms=lambda: NOW)
        super().__init__(path, emqx=emqx)


class Loaded(Asked):
    """The same without a store, for many files in a short time: every user of `users` has an identity."""

    def __init__(self, folder: Path, text: str, users: Sequence[str], *, emqx: bool = True) -> None:
        super().__init__(emqx=emqx)
        self._policy = load_policy(_files(folder, [text, _users(users)]))

    def view(self, client: Client) -> View:
        (instance,) = self._policy.instances
        (spec,) = [one for one in self._policy.identities if one.username == client.username]
        return View(
            revision=1,
            instance=instance,
            group=None,
            blacklist=(),
            owners=(),
            user=spec.identity((Secret(id="default", value=b"secret", fingerprint=""),)),
            user_grants=self._grants(Grantee.USER, client.username),
            client_grants=self._grants(Grantee.CLIENT, client.client_id),
            group_grants=GrantIndex(()),
            all_grants=self._grants(Grantee.ALL, ""),
            works=Works((), b""),
        )

    def _grants(self, grantee: Grantee, name: str) -> GrantIndex:
        found = self._policy.permissions
        return GrantIndex([one for one in found if (one.identity_type, one.identity) == (grantee, name)])


def _users(names: Sequence[str]) -> str:
    """Identities, so that clients of these names are let in."""
    said = "".join(
        f"  - {{username: {json.dumps(name)}, sign_mode: origin, secret: {{literal: secret}}}}\n" for name in names
    )
    return f"format: exhook/v1\nidentities:\n{said or '  []'}"


def _files(folder: Path, texts: Sequence[str]) -> list[Path]:
    files = [folder / f"policy-{number}.yaml" for number, _ in enumerate(texts)]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text, encoding="utf-8")
    return files


def emqx(text: str) -> Imported:
    return import_emqx_acl([Original("acl.conf", text)])


def mosquitto(text: str) -> Imported:
    return import_mosquitto_acl(Original("acl", text))


def dynsec(text: str) -> Imported:
    return import_dynamic_security(Original("dynsec.json", text))


def written(made: Imported) -> str:
    return policy_text(made, origin="a test", source="policy", instance=INSTANCE)


def told(made: Imported, *sorts: Sort) -> list[str]:
    """What could not be carried over, a line each; of all sorts if none is named."""
    return [str(one) for one in made.leftovers.of(*(sorts or tuple(Sort)))]


def losses(made: Imported) -> list[str]:
    return told(made, Sort.LEFT_OUT, Sort.STRICTER)


def entries(text: str) -> dict[str, Any]:
    """What a policy says, comments aside."""
    loaded: Mapping[str, Any] = YAML(typ="safe", pure=True).load(text)
    return dict(loaded)


def permissions(made: Imported) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = entries(written(made)).get("permissions", [])
    return found

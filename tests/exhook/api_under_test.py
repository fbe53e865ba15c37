"""The management API under test: a store with access keys, calls signed by the vendor's own code, its clients."""

import asyncio
import hashlib
import http.client
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from alibabacloud_onsmqtt20200420 import models
from alibabacloud_onsmqtt20200420.client import Client
from alibabacloud_tea_openapi.models import Config
from alibabacloud_tea_openapi.utils import Utils
from alibabacloud_tea_util.models import RuntimeOptions
from server_under_test import PATIENCE, Server
from worker_under_test import Store

from exhook.api.request import Request
from store.account_records import AccessKey
from store.api_calls import CALLS
from store.clock import now_ms
from store.database import Database
from store.key_material import secret_of
from store.records import Action, Effect, Grantee, Instance, Permission
from store.seal import SealKeys

INSTANCE: Final = "mqtt-a"
OTHER: Final = "mqtt-b"
VERSION: Final = "2020-04-20"
KEY: Final = "AKtest"
SECRET: Final = "the secret of AKtest"
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"


def access_key(database: Database, name: str = KEY, secret: str = SECRET, **more: Any) -> AccessKey:
    """An access key that may do everything on one instance."""
    given = {
        "instances": (INSTANCE,), "calls": CALLS, "all_topics": True, "reveal_secrets": True,
        "secrets": (secret_of(database, secret.encode()),), **more,
    }  # fmt: skip
    return AccessKey(access_key_id=name, **given)


def make_store(path: Path, **limits: Any) -> Store:
    """Two instances, and keys with all the rights, few, or none."""
    store = Store(path, SealKeys())
    with (
        Database.open(path, store.keys) as database,
        database.writing(actor="test", source="api", now_ms=now_ms()) as w,
    ):
        w.put(Instance(name=INSTANCE, source="plant", **limits))
        w.put(Instance(name=OTHER, source="plant"))
        w.put(access_key(database))
        w.put(
            access_key(database, "AKsmall", instances=(INSTANCE, "mqtt-gone"), all_topics=False, reveal_secrets=False)
        )
        w.put(access_key(database, "AKdevice", calls=(), connect=True))
        w.put(access_key(database, "AKoff", active=False))
        w.put(access_key(database, "AKpast", expires_at=1))
        w.put(access_key(database, "AKtwo", secrets=(
            secret_of(database, b"old", "old"), secret_of(database, b"new", "new"),
        )))  # fmt: skip
        w.put(Permission(
            instance=INSTANCE, identity_type=Grantee.ACCESS_KEY, identity="AKsmall", topic="small/#",
            action=Action.SUB, effect=Effect.ALLOW,
        ))  # fmt: skip
    return store


@dataclass
class Signed:
    """A call, signed by the vendor's own code; a test changes what it likes before, or after."""

    action: str = "QueryCustomAuthIdentity"
    method: str = "GET"
    query: dict[str, str] = field(default_factory=lambda: {"InstanceId": INSTANCE, "Size": "10"})
    form: dict[str, str] = field(default_factory=dict)
    key: str = KEY
    secret: str = SECRET
    host: str = "127.0.0.1:1"
    nonce: str = field(default_factory=lambda: uuid.uuid4().hex)
    at_ms: int = 0
    """0: now."""

    def v3(self, **headers: str) -> Request:
        """ACS3-HMAC-SHA256, as `alibabacloud-tea-openapi` signs."""
        body = urlencode(self.form).encode()
        digest = hashlib.sha256(body).hexdigest()
        signed = {
            "host": self.host, "x-acs-version": VERSION, "x-acs-action": self.action, "user-agent": "test",
            "x-acs-date": self._date(), "x-acs-signature-nonce": self.nonce, "accept": JSON,
            "x-acs-content-sha256": digest, **({"content-type": FORM} if body else {}), **headers,
        }  # fmt: skip
        asked = _Asked(self.method, "/", self.query, signed)
        signed["Authorization"] = Utils.get_authorization(asked, "ACS3-HMAC-SHA256", digest, self.key, self.secret)
        return Request(self.method, "/", _query(self.query), _headers(signed), body)

    def v2(self, **parameters: str) -> Request:
        """RPC 1.0, HMAC-SHA1."""
        query = self.query | {
            "Action": self.action, "Format": "json", "Version": VERSION, "Timestamp": self._date(),
            "SignatureNonce": self.nonce, "SignatureMethod": "HMAC-SHA1", "SignatureVersion": "1.0",
            "AccessKeyId": self.key, **parameters,
        }  # fmt: skip
        query["Signature"] = Utils.get_rpcsignature(query | self.form, self.method, self.secret)
        body = urlencode(self.form).encode()
        headers = {"host": self.host, **({"content-type": FORM} if body else {})}
        return Request(self.method, "/", _query(query), _headers(headers), body)

    def _date(self) -> str:
        return datetime.fromtimestamp((self.at_ms or now_ms()) // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class _Asked:
    method: str
    pathname: str
    query: dict[str, str]
    headers: dict[str, str]


def _query(query: dict[str, str]) -> bytes:
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query.items()).encode()


def _headers(headers: dict[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.lower().encode(), value.encode()) for name, value in headers.items())


@dataclass(frozen=True)
class Said:
    """An answer."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def code(self) -> str:
        """Of a refusal; nothing where all went well."""
        return str(self.body["Code"]) if self.status >= 400 else ""


def send(port: int, request: Request, *, path: str = "/", method: str = "") -> Said:
    """Send a request as it is, headers and all."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        target = path + (f"?{request.query.decode()}" if request.query else "")
        connection.putrequest(method or request.method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers:
            connection.putheader(name.decode(), value)
        if request.body or request.method == "POST":
            connection.putheader("content-length", str(len(request.body)))
        connection.endheaders(request.body or None)
        answer = connection.getresponse()
        text = answer.read()
        return Said(answer.status, json.loads(text) if text else {}, {k.lower(): v for k, v in answer.getheaders()})
    finally:
        connection.close()


class Sdk:
    """The vendor's client: a call by its name, its parameters by theirs; the answer's body as it came."""

    def __init__(
        self, port: int, *, key: str = KEY, secret: str = SECRET, algorithm: str | None = None,
        asynchronous: bool = False, **more: Any,
    ) -> None:  # fmt: skip
        self._client = Client(Config(
            endpoint=f"127.0.0.1:{port}", protocol=more.pop("protocol", "http"), access_key_id=key,
            access_key_secret=secret, signature_algorithm=algorithm, read_timeout=int(PATIENCE * 1000),
        ))  # fmt: skip
        self._runtime = RuntimeOptions(**more)
        self._asynchronous = asynchronous

    def __call__(self, action: str, **parameters: Any) -> Any:
        request = getattr(models, f"{action}Request")().from_map({"InstanceId": INSTANCE} | parameters)
        name = _snake(action) + "_with_options"
        if self._asynchronous:
            answer = asyncio.run(getattr(self._client, f"{name}_async")(request, self._runtime))
        else:
            answer = getattr(self._client, name)(request, self._runtime)
        assert answer.status_code == 200
        return answer.body.to_map()

    def refused(self, action: str, **parameters: Any) -> Any:
        """The error that the client raises."""
        try:
            answer = self(action, **parameters)
        except Exception as error:  # noqa: BLE001 - which one it is depends on the client's version
            return error
        raise AssertionError(answer)


def _snake(action: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in action).lstrip("_")


def api_port(server: Server) -> int:
    return int(server.line("management API")["address"].rpartition(":")[2])


def all_pages(ask: Callable[[str], Any]) -> Iterator[Any]:
    """What every page holds; `ask` takes a token."""
    token = ""
    while True:
        data = ask(token)["Data"]
        yield from data["Results"]
        token = data["NextToken"]
        if not token:
            return

"""A real store, a real worker on a real socket, a real gRPC client."""

import base64
import gzip
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpc import aio

from exhook.worker import Worker
from protos import exhook_v1_pb2, exhook_v2_pb2, exhook_v3_pb2
from store.clock import now_ms
from store.database import Database
from store.records import (
    Action,
    Effect,
    Grantee,
    Identity,
    IdentityType,
    Instance,
    Permission,
    Record,
    Secret,
    SecretForm,
    SignMode,
)
from store.seal import SealKeys

CARRIER = os.environ.get("EXHOOK_TEST_CARRIER", "h2")
"""The carrier of tests that are not about carriers; the whole suite runs on another by this variable."""
CARRIERS = ("h2", "grpc")
INSTANCE = "mqtt-test"
DATA = Path(__file__).parent.parent / "data"
MESSAGES = {"v1": exhook_v1_pb2, "v2": exhook_v2_pb2, "v3": exhook_v3_pb2}


@dataclass
class Store:
    """A store file, and the shortest way to write into it."""

    path: Path
    keys: SealKeys = field(default_factory=SealKeys)

    def put(self, *records: Record) -> int:
        with Database.open(self.path, self.keys) as database:
            with database.writing(actor="test", source="policy", now_ms=now_ms()) as write:
                for record in records:
                    write.put(record)
            return database.revision

    def remove(self, *records: Record) -> int:
        with Database.open(self.path, self.keys) as database:
            with database.writing(actor="test", source="policy", now_ms=now_ms()) as write:
                for record in records:
                    write.remove(record)
            return database.revision


def secret(name: str, value: bytes, form: SecretForm = SecretForm.KEY, expires_at: int | None = None) -> Secret:
    # The fingerprint stands for the value: equal values, equal fingerprints.
    return Secret(id=name, value=value, form=form, fingerprint=value.hex()[:16], expires_at=expires_at)


def identity(
    username: str, password: bytes = b"", *, client_id: str = "", mode: SignMode = SignMode.ORIGIN, **more: Any
) -> Identity:
    secrets: tuple[Secret, ...] = ()
    if mode is not SignMode.EXTERNAL:
        form = SecretForm.HASH if mode is SignMode.HASHED else SecretForm.KEY
        secrets = () if "secrets" in more else (secret("default", password, form),)
    kind = IdentityType.CLIENT if client_id else IdentityType.USER
    return Identity(
        instance=INSTANCE, identity_type=kind, username=username, client_id=client_id, sign_mode=mode,
        **({"secrets": secrets, "source": "policy"} | more),
    )  # fmt: skip


def permission(
    name: str, topic: str, action: Action = Action.PUB_SUB, *, to: Grantee = Grantee.USER,
    effect: Effect = Effect.ALLOW, **more: Any,
) -> Permission:  # fmt: skip
    return Permission(
        identity_type=to, identity=name, topic=topic, action=action, effect=effect,
        **({"instance": INSTANCE, "source": "policy"} | more),
    )  # fmt: skip


def instance(**more: Any) -> Instance:
    return Instance(name=INSTANCE, source="policy", **more)


@dataclass
class Served:
    """A worker under test and a channel to it."""

    worker: Worker
    port: int
    channel: aio.Channel

    async def call(self, path: str, body: bytes, **more: Any) -> bytes:
        ask = self.channel.unary_unary(path, None, None)
        answer: bytes = await ask(body, **({"timeout": 5.0} | more))
        return answer

    async def authenticate(
        self, client_id: bytes | str, username: bytes | str, password: bytes, *, version: str = "v3", **info: Any
    ) -> bool:
        messages = MESSAGES[version]
        request = messages.ClientAuthenticateRequest(clientinfo=_info(client_id, username, password=password, **info))
        return self.verdict(
            await self.call(f"/emqx.exhook.{version}.HookProvider/OnClientAuthenticate", request.SerializeToString())
        )

    async def authorize(
        self, client_id: bytes | str, username: bytes | str, action: str, topic: bytes | str, *, version: str = "v3",
        **info: Any,
    ) -> bool:  # fmt: skip
        messages = MESSAGES[version]
        name = "ClientCheckAcl" if version == "v1" else "ClientAuthorize"
        request = getattr(messages, f"{name}Request")(
            clientinfo=_info(client_id, username, **info), type=action, topic=_bytes(topic)
        )
        return self.verdict(
            await self.call(f"/emqx.exhook.{version}.HookProvider/On{name}", request.SerializeToString())
        )

    @staticmethod
    def verdict(answer: bytes) -> bool:
        response = exhook_v3_pb2.ValuedResponse.FromString(answer)
        assert response.type == exhook_v3_pb2.ValuedResponse.STOP_AND_RETURN
        assert response.WhichOneof("value") == "bool_result"
        return bool(response.bool_result)


def _info(client_id: bytes | str, username: bytes | str, **more: Any) -> dict[str, Any]:
    return {"clientid": _bytes(client_id), "username": _bytes(username), "peerhost": "127.0.0.1", **more}


def _bytes(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text


Serve = Callable[..., Any]


@dataclass(frozen=True)
class Recorded:
    """One request that a real EMQX sent."""

    action: str
    path: str
    body: bytes


def recorded(name: str) -> Iterator[Recorded]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            yield Recorded(entry["action"], entry["rpc"], base64.b64decode(entry["request"]))

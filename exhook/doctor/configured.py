"""What a single node of an EMQX cluster is configured with.

Most of the API tells what holds in the cluster; a file that was edited on one node shows here alone (5.2 and later,
as HOCON).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from exhook.brokers.emqx import EmqxApi
from exhook.brokers.hocon import NotHocon, read_hocon

_KEYS: Final = ("authentication", "authorization", "exhook", "listeners", "mqtt", "auto_subscribe", "rewrite")

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NodeListener:
    """A listener for MQTT, with what decides who a client is."""

    id: str
    """``TYPE:NAME``."""
    port: int | None
    asks: bool
    """`enable_authn` is not false."""
    own_authenticators: bool
    demands_certificate: bool
    mountpoint: str
    """What is put before the topics of its clients."""

    @classmethod
    def of(cls, kind: str, name: str, entry: Entry) -> Self:
        port = str(entry.get("bind", "")).rpartition(":")[2]
        tls = entry.get("ssl_options") or {}
        own = entry.get("authentication")
        return cls(
            id=f"{kind}:{name}",
            port=int(port) if port.isdecimal() else None,
            asks=entry.get("enable_authn") is not False,
            own_authenticators=any(one.get("enable", True) for one in _entries(own)),
            demands_certificate=tls.get("verify") == "verify_peer" and tls.get("fail_if_no_peer_cert") is True,
            mountpoint=str(entry.get("mountpoint") or ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """One node."""

    node: str
    authenticators: list[Entry] | None
    """Those that are enabled; None where the node does not tell. The same for the others."""
    sources: list[Entry] | None
    settings: Entry
    servers: list[Entry] | None
    listeners: list[NodeListener]
    username_from: str
    """What of a client's certificate becomes its user name; ``disabled`` for nothing."""
    subscribed: list[str]
    """Filters that every client is subscribed to without having asked for them."""
    renamed: frozenset[tuple[str, str]] | None
    """Topics of messages that are renamed as they are published, and to what."""

    @classmethod
    def of(cls, node: str, told: Entry) -> Self:
        authorization, exhook = told.get("authorization"), told.get("exhook")
        return cls(
            node=node,
            authenticators=_enabled(told["authentication"]) if "authentication" in told else None,
            sources=_enabled(authorization.get("sources")) if isinstance(authorization, dict) else None,
            settings=authorization if isinstance(authorization, dict) else {},
            servers=_entries(exhook.get("servers")) if isinstance(exhook, dict) else None,
            listeners=list(_listeners(told.get("listeners"))),
            username_from=str(_inner(told, "mqtt").get("peer_cert_as_username", "disabled")),
            renamed=_renamed(told["rewrite"]) if "rewrite" in told else None,
            subscribed=[str(one.get("topic")) for one in _entries(_inner(told, "auto_subscribe").get("topics"))],
        )


async def configured(api: EmqxApi, node: str) -> Configured | None:
    """Ask what a node is configured with; None where it does not tell, or not in HOCON.

    Raises:
        EmqxFault: the API does not answer.
    """
    told: dict[str, Any] = {}
    for key in _KEYS:
        text = await api.text("/configs", key=key, node=node)
        if text is None:
            continue
        try:
            said = read_hocon(text)
        except NotHocon:
            return None
        # Some versions print the value alone.
        told[key] = said.get(key, said)
    return Configured.of(node, told) if told else None


def _inner(told: Entry, name: str) -> Entry:
    inner = told.get(name)
    return inner if isinstance(inner, dict) else {}


def _entries(value: object) -> list[Entry]:
    """A list of objects; a single one stands for itself."""
    if isinstance(value, dict):
        return [value] if value else []
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _renamed(value: object) -> frozenset[tuple[str, str]]:
    return frozenset(
        (str(one.get("source_topic")), str(one.get("dest_topic")))
        for one in _entries(value)
        if one.get("action") in {"publish", "all"}
    )


def _enabled(value: object) -> list[Entry]:
    return [one for one in _entries(value) if one.get("enable", True)]


def _listeners(value: object) -> Iterator[NodeListener]:
    for kind, named in value.items() if isinstance(value, dict) else ():
        for name, entry in named.items() if isinstance(named, dict) else ():
            if isinstance(entry, dict) and entry.get("enable", entry.get("enabled", True)):
                yield NodeListener.of(kind, name, entry)

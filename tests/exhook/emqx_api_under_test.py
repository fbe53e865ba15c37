"""The management API of an EMQX cluster, as its public description has it: real HTTP, sessions in a table, faults.

Paths, parameters, codes and shapes are those of EMQX 5's API description; what the project never calls is not there.
"""

import base64
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

from certificates_under_test import Pair

from exhook.brokers.emqx_cluster import EmqxCluster

KEY: Final = "ee26b0dd4af7e749"
SECRET: Final = "canary-emqx-secret"
NODES: Final = ("emqx@node1", "emqx@node2")
MOST_ROWS: Final = 10_000

Answer = tuple[int, Any]
NO_SUCH_PATH: Final[Answer] = (404, {"code": "API_NOT_EXIST", "message": "Request Path Not Found"})


@dataclass
class Session:
    """One client's session."""

    client_id: str
    username: str = ""
    topics: set[str] = field(default_factory=set)
    """As the broker holds them: mounted."""
    mountpoint: str = ""
    listener: str = "tcp:default"
    connected: bool = True
    connected_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def entry(self) -> dict[str, Any]:
        return {
            "clientid": self.client_id,
            "username": self.username or None,
            "mountpoint": self.mountpoint or None,
            "listener": self.listener,
            "connected": self.connected,
            "subscriptions_cnt": len(self.topics),
            "node": NODES[hash(self.client_id) % 2],
            "ip_address": "127.0.0.1",
            "port": 50000,
            "proto_ver": 5,
            "connected_at": self.connected_at.isoformat(timespec="milliseconds"),
        }


def exhook_entry(**other: Any) -> dict[str, Any]:
    """A server entry as `GET /exhooks` shows it, in order."""
    return {
        "name": "exhook",
        "enable": True,
        "url": "http://127.0.0.1:9000",
        "request_timeout": "5s",
        "failed_action": "deny",
        "auto_reconnect": "5s",
        "pool_size": 8,
        "ssl": {"enable": False},
        "hooks": [{"name": "client.authenticate", "params": {}}, {"name": "client.authorize", "params": {}}],
        "node_status": [{"node": node, "status": "connected"} for node in NODES],
        "metrics": {"succeed": 1, "failed": 0, "rate": 0, "max_rate": 0},
    } | other


class EmqxApiUnderTest:
    """The API of one cluster; what stands in its attributes may be changed while it runs."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.calls: list[tuple[str, str]] = []
        """Method and path of every call that was let in, in order."""
        self.times: list[float] = []
        self.disconnected: list[str] = []
        self.unsubscribed: list[tuple[str, str]] = []
        self.cleared: list[str | None] = []
        """Client ids whose cache was emptied; None for everybody's."""
        self.fail: Callable[[str, str], Answer | None] = lambda _method, _path: None
        """Asked first: what it answers, the API answers."""
        self.delay = 0.0
        self.calls_per_second: float | None = None
        self.stubborn = False
        """Unsubscribing is answered well, and does nothing."""
        self.has_bulk = True
        self.key = f"{KEY}:{SECRET}"
        self.nodes: list[dict[str, Any]] = [
            {"node": node, "node_status": "running", "version": "5.8.6", "edition": "Opensource"} for node in NODES
        ]
        self.exhooks: list[dict[str, Any]] = [exhook_entry()]
        self.settings: dict[str, Any] = {
            "no_match": "deny",
            "deny_action": "ignore",
            "cache": {"enable": True, "max_size": 32, "ttl": "10s"},
        }
        self.sources: list[dict[str, Any]] = []
        self.authenticators: list[dict[str, Any]] = [
            {
                "id": "password_based:built_in_database",
                "mechanism": "password_based",
                "backend": "built_in_database",
                "enable": True,
            }
        ]
        self.users: dict[str, list[dict[str, Any]]] = {"password_based:built_in_database": []}
        self.listeners: list[dict[str, Any]] = [
            {"id": "tcp:default", "type": "tcp", "bind": "0.0.0.0:1883", "enable": True, "running": True},
        ]
        self.mqtt: dict[str, Any] = {"peer_cert_as_username": "disabled", "max_packet_size": "1MB"}
        self.auto_subscribed: list[dict[str, Any]] = []
        self.rewrites: list[dict[str, Any]] = []
        self.by_node: dict[str, Callable[[dict[str, Any]], object]] = {}
        """What makes the configuration of one node another than that of the cluster."""
        self.has_hocon = True
        self.cut: Callable[[str], object] = lambda _client_id: None
        """Ends the connection of a client, where one stands."""
        self.clock_ahead_seconds = 0.0
        self.tls: Pair | None = None
        """The certificate it shows from the next `up` on; none: it speaks no TLS."""
        self._lock = threading.RLock()
        self._server: _Server | None = None
        self._port = 0

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def url(self) -> str:
        return f"https://localhost:{self._port}" if self.tls else f"http://127.0.0.1:{self._port}"

    def up(self) -> None:
        """Listen; after `down`, on the same port again."""
        self._server = _Server(("127.0.0.1", self._port), _handler(self))
        if self.tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.tls.certificate, self.tls.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections, and break those that stand."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.close_connections()
            self._server = None

    def cluster(self, **more: Any) -> EmqxCluster:
        """The settings of this cluster; without limits worth mentioning."""
        values: dict[str, Any] = {"name": "under-test", "url": self.url}
        return EmqxCluster(**values | {"calls_per_second": 1e5, "disconnects_per_second": 1e6} | more)

    @property
    def environ(self) -> dict[str, str]:
        return {"EXHOOK_EMQX_API_KEY": f"{KEY}:{SECRET}"}

    def join(self, *sessions: Session) -> None:
        with self._lock:
            self.sessions |= {session.client_id: session for session in sessions}

    def counted(self, method: str, start: str) -> int:
        """How many calls of a method there were whose path begins so."""
        return sum(1 for verb, path in self.calls if verb == method and path.startswith(start))

    # What follows is called from the threads of the server.

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON (or text), headers."""
        parts = urlsplit(target)
        path = parts.path
        if self.delay:
            time.sleep(self.delay)
        if path == "/status":
            return 200, "Node emqx@node1 is started\nemqx is running", {}
        if headers.get("Authorization") != "Basic " + base64.b64encode(self.key.encode()).decode():
            return 401, {"code": "BAD_API_KEY_OR_SECRET", "message": "Check api_key/api_secret"}, {}
        with self._lock:
            if refused := self.fail(method, path) or self._too_many():
                return *refused, {"Retry-After": "1"} if refused[0] == 429 else {}
            self.calls.append((method, path))
            segments = [unquote(segment) for segment in path.removeprefix("/api/v5").strip("/").split("/")]
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            status, said = self._route(method, segments, query, json.loads(body) if body else None)
            return status, said, {}

    def _too_many(self) -> Answer | None:
        now = time.monotonic()
        self.times = [moment for moment in self.times if now - moment < 1.0] if self.calls_per_second else []
        self.times.append(now)
        if self.calls_per_second is None or len(self.times) <= self.calls_per_second:
            return None
        return 429, {"code": "TOO_MANY_REQUESTS", "message": ""}

    def _route(self, method: str, segments: list[str], query: dict[str, str], body: Any) -> Answer:
        if ".." in segments or "." in segments:
            return NO_SUCH_PATH
        match method, *segments:
            case "GET", "clients":
                said = _page([one for one in self.sessions.values() if not query or _found(one, query)], query)
                return 200, said | {"data": [one.entry() for one in said["data"]]}
            case "GET", "subscriptions":
                return 200, _page(list(self._subscriptions(query.get("clientid"))), query)
            case "POST", "clients", "kickout", "bulk" if self.has_bulk:
                for client_id in body:
                    self._disconnect(client_id)
            case method, "clients", client_id, *rest if rest != ["bulk"]:
                return self._of_client(method, self.sessions.get(client_id), rest, body)
            case "DELETE", "authorization", "cache":
                self.cleared.append(None)
            case _:
                return self._about(method, segments, query)
        return 204, None

    def _about(self, method: str, segments: list[str], query: dict[str, str]) -> Answer:
        found: dict[tuple[str, ...], Any] = {
            ("nodes",): self.nodes,
            ("exhooks",): self.exhooks,
            ("listeners",): self.listeners,
            ("authentication",): self.authenticators,
            ("authorization", "settings"): self.settings,
            ("authorization", "sources"): {"sources": self.sources},
            ("cluster",): {"name": "emqxcl", "nodes": list(NODES), "self": NODES[0]},
        }
        if method == "GET" and tuple(segments) in found:
            return 200, found[tuple(segments)]
        match segments:
            case ["configs"]:
                return self._configs(query)
            case ["exhooks", name]:
                for entry in self.exhooks:
                    if entry["name"] == name:
                        return 200, entry
                return 404, {"code": "NOT_FOUND", "message": "Server not found"}
            case ["authentication", name, "users"] if name in self.users:
                return 200, _page(self.users[name], {})
        return NO_SUCH_PATH

    def _configs(self, query: dict[str, str]) -> Answer:
        """One root of one node's configuration, as EMQX 5.2 and later print it; before, another shape."""
        if not self.has_hocon:
            return 200, {"sysmon": {}, "log": {}}
        roots: dict[str, Any] = deepcopy(
            {
                "authentication": [_configured(one, "id") for one in self.authenticators],
                "authorization": self.settings | {"sources": self.sources},
                "exhook": {"servers": [_configured(one, *_RUNNING) for one in self.exhooks]},
                "listeners": _by_type(self.listeners),
                "mqtt": self.mqtt,
                "rewrite": self.rewrites,
                "auto_subscribe": {"topics": self.auto_subscribed},
            }
        )
        if make_other := self.by_node.get(query.get("node", NODES[0])):
            make_other(roots)
        if query.get("key") not in roots:
            return 400, {"code": "BAD_REQUEST", "message": "unknown key"}
        return 200, "".join(printed({query["key"]: roots[query["key"]]}))

    def _of_client(self, method: str, session: Session | None, rest: list[str], body: Any) -> Answer:
        if session is None:
            return 404, {"code": "CLIENTID_NOT_FOUND", "message": "Client ID not found"}
        match method, *rest:
            case ("GET",):
                return 200, session.entry()
            case "GET", "subscriptions":
                return 200, list(self._subscriptions(session.client_id))
            case ("DELETE",):
                self._disconnect(session.client_id)
            case "DELETE", "authorization", "cache":
                self.cleared.append(session.client_id)
            case "POST", "unsubscribe":
                if not self.stubborn:
                    session.topics.discard(_mounted(session.mountpoint, body["topic"]))
                self.unsubscribed.append((session.client_id, body["topic"]))
            case _:
                return NO_SUCH_PATH
        return 204, None

    def _disconnect(self, client_id: str) -> None:
        if self.sessions.pop(client_id, None):
            self.disconnected.append(client_id)
            self.cut(client_id)

    def _subscriptions(self, client_id: str | None) -> Iterator[dict[str, Any]]:
        for session in self.sessions.values():
            if client_id in {None, session.client_id}:
                for topic in sorted(session.topics):
                    yield {"clientid": session.client_id, "topic": topic, "qos": 1, "node": NODES[0]}


_RUNNING: Final = ("hooks", "node_status", "metrics")
"""What an ExHook server's entry tells beside its configuration."""


def _configured(entry: dict[str, Any], *others: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in others}


def _by_type(listeners: list[dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for one in listeners:
        kind, name = one["id"].split(":")
        made.setdefault(kind, {})[name] = _configured(one, "id", "type", "running")
    return made


def printed(value: Any, indent: str = "") -> Iterator[str]:
    """HOCON, laid out as EMQX does: sorted keys, words without quotes where they need none."""
    if not isinstance(value, dict):
        yield _word(value, indent)
        return
    for key in sorted(value):
        name = key if re.fullmatch(r"[a-zA-Z]+[\w-]*", key) else json.dumps(key)
        inner = value[key]
        if isinstance(inner, dict):
            yield f"{indent}{name} {{\n{''.join(printed(inner, indent + '  '))}{indent}}}\n"
        else:
            yield f"{indent}{name} = {_word(inner, indent)}\n"


def _word(value: Any, indent: str) -> str:
    if isinstance(value, dict):
        return f"{{\n{''.join(printed(value, indent + '  '))}{indent}}}"
    if isinstance(value, list):
        more = indent + "  "
        return "[" + ",".join(f"\n{more}{_word(one, more)}" for one in value) + (f"\n{indent}]" if value else "]")
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    return str(value) if re.fullmatch(r"[\w./%-]+", value) else json.dumps(value)


def _found(session: Session, query: dict[str, str]) -> bool:
    return (
        query.get("username", session.username) == session.username
        and query.get("clientid", session.client_id) == session.client_id
        and query.get("like_username", "") in session.username
        and query.get("like_clientid", "") in session.client_id
    )


def _page(rows: list[Any], query: dict[str, str]) -> dict[str, Any]:
    page, limit = int(query.get("page", "1")), min(int(query.get("limit", "100")), MOST_ROWS)
    begin = (page - 1) * limit
    meta = {"page": page, "limit": limit, "count": len(rows), "hasnext": begin + limit < len(rows)}
    return {"data": rows[begin : begin + limit], "meta": meta}


def _mounted(mountpoint: str, topic: str) -> str:
    """A filter under a mountpoint: the part behind `$share/GROUP/` is mounted."""
    if topic.startswith("$share/"):
        _, group, rest = topic.split("/", 2)
        return f"$share/{group}/{mountpoint}{rest}"
    return mountpoint + topic


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        self.connections: list[Any] = []
        super().__init__(*arguments)

    def get_request(self) -> tuple[Any, Any]:
        found = super().get_request()
        self.connections.append(found[0])
        return found

    def close_connections(self) -> None:
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """A peer that went away, or one whose connection was closed from here."""


def _handler(api: EmqxApiUnderTest) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, said, headers = api.answer(self.command, self.path, self.headers, body)
            payload = b"" if said is None else said.encode() if isinstance(said, str) else json.dumps(said).encode()
            head = [f"HTTP/1.1 {status} X", f"Date: {self.date_time_string(time.time() + api.clock_ahead_seconds)}"]
            head += [f"{name}: {value}" for name, value in headers.items()]
            if status != 204:
                kind = "text/plain" if isinstance(said, str) else "application/json"
                head += [f"Content-Type: {kind}", f"Content-Length: {len(payload)}"]
            self.wfile.write("\r\n".join([*head, "", ""]).encode() + payload)

        do_GET = do_POST = do_DELETE = do_PUT = _any  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            pass

    return Handler

"""Whether an EMQX cluster has this server decide, always: what its API tells against what must hold.

What must hold is said, with its reasons, in ``docs/emqx.md``. Pure: a report in, findings out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from exhook.doctor.finding import Finding, Grade
from exhook.doctor.reports import OURS, Entry, Report, seconds

LONGEST_RECONNECT: Final = 10.0
SHORTEST_TIMEOUT, LONGEST_TIMEOUT = 1.0, 10.0
LONGEST_CACHE: Final = 60.0
"""Seconds."""
CLOCK_MS: Final = 2_000
POOL: Final = 8
"""Connections of each node and worker."""
FIRST_VERSION: Final = 5

_FLOOR: Final = """\
authentication = [{mechanism = password_based, backend = built_in_database, user_id_type = username,
                   password_hash_algorithm = {name = sha256, salt_position = suffix}}]"""


@dataclass(frozen=True, slots=True)
class Server:
    """What the settings say of this server."""

    port: int
    """Where brokers call; 0 where it is not known."""
    workers: int
    external_ports: frozenset[int] = frozenset()
    """Ports of the broker's listeners that are declared external."""


class Checks:
    """The checks of one cluster."""

    def __init__(self, cluster: str, report: Report, server: Server) -> None:
        self._cluster = cluster
        self._report = report
        self._server = server

    def findings(self) -> Iterator[Finding]:
        yield from self._nodes()
        yield from self._authentication()
        yield from self._authorization()
        yield from self._listeners()
        yield from self._clock()
        entry = self._entry()
        if entry is None:
            yield self._wrong(
                "server entry",
                f"no ExHook server of this cluster calls port {self._server.port}",
                f'exhook.servers = [{{name = exhook, url = "http://ADDRESS:{self._server.port}", failed_action = deny, '
                "auto_reconnect = 5s}]",
            )
        else:
            yield from self._server_entry(entry)

    def _nodes(self) -> Iterator[Finding]:
        down = [str(one.get("node")) for one in self._report.nodes if one.get("node_status") != "running"]
        versions = sorted({str(one.get("version")) for one in self._report.nodes})
        if down:
            yield self._wrong("nodes", f"not running: {', '.join(down)}", "start them, or take them out of the cluster")
        old = [version for version in versions if _major(version) < FIRST_VERSION]
        if old:
            yield self._wrong("version", f"EMQX {old[0]} has no such API", "see docs/emqx.md for 4.4")
        elif len(versions) > 1:
            yield self._advice("version", f"nodes of several versions: {', '.join(versions)}", "finish the upgrade")
        else:
            interface = "v3" if _at_least(versions[0] if versions else "", (5, 9)) else "v2"
            yield self._ok("version", f"{len(self._report.nodes)} nodes of EMQX {', '.join(versions)} ({interface})")

    def _authentication(self) -> Iterator[Finding]:
        """The floor of CONNECT, and who decides before us."""
        if not self._report.authenticators:
            yield self._wrong("floor", "without ExHook loaded, everybody gets in: no authenticator is there", _FLOOR)
            return
        first = []
        for one in self._report.authenticators:
            name = str(one.get("id"))
            if one.get("backend") != "built_in_database":
                first.append(f"{name} decides about whom it knows")
            elif self._report.users.get(name):
                first.append(f"the users of {name} never reach ExHook")
        for said in first:
            mend = "take it out of `authentication`, or declare its listeners external in [[listeners]]"
            if "users of" in said:
                mend = "delete its users; the database is to stay empty"
            grade = Grade.ADVICE if self._server.external_ports else Grade.WRONG
            yield self._finding("authentication", grade, said, mend)
        if not first:
            yield self._ok("floor", "whom no authenticator knows is refused while ExHook is not loaded")

    def _authorization(self) -> Iterator[Finding]:
        sources = [str(one.get("type")) for one in self._report.sources]
        settings = self._report.settings
        if sources:
            named = ", ".join("file (acl.conf)" if one == "file" else one for one in sources)
            yield self._wrong(
                "authorization", f"decided before ExHook is asked, by: {named}", "authorization.sources = []"
            )
        else:
            yield self._ok("authorization", "no source of EMQX's own decides first")
        if settings.get("no_match") != "deny":
            yield self._wrong(
                "no_match",
                f"{settings.get('no_match')}: without ExHook everything is allowed",
                "authorization.no_match = deny",
            )
        else:
            yield self._ok("no_match", "deny")
        if settings.get("deny_action") not in {"ignore", "disconnect"}:
            yield self._advice("deny_action", f"{settings.get('deny_action')}", "authorization.deny_action = ignore")
        cache = settings.get("cache") or {}
        lives = seconds(cache.get("ttl"))
        if cache.get("enable", True) and (lives is None or lives > LONGEST_CACHE):
            yield self._advice(
                "cache", f"answers live on for {cache.get('ttl')}", "authorization.cache = {enable = true, ttl = 10s}"
            )

    def _listeners(self) -> Iterator[Finding]:
        for one in self._report.listeners:
            port = str(one.get("bind", "")).rpartition(":")[2]
            external = port.isdecimal() and int(port) in self._server.external_ports
            if one.get("enable_authn") is False and one.get("enable", True) and not external:
                yield self._wrong(
                    "listener",
                    f"{one.get('id')} lets everybody in unasked: enable_authn = false",
                    f"listeners.{str(one.get('id')).replace(':', '.')}.enable_authn = true",
                )

    def _clock(self) -> Iterator[Finding]:
        offset = self._report.offset_ms
        if offset is not None and abs(offset) > CLOCK_MS:
            ahead = "ahead of" if offset > 0 else "behind"
            yield self._advice(
                "clock", f"the cluster's is {abs(offset) / 1000:.0f} s {ahead} ours", "keep both right by NTP"
            )

    def _entry(self) -> Entry | None:
        """Our entry: the one that calls our port, or the only one where the port is not known."""
        servers = self._report.servers
        ours = [one for one in servers if _port(str(one.get("url"))) == self._server.port]
        if ours:
            return ours[0]
        return servers[0] if len(servers) == 1 and not self._server.port else None

    def _server_entry(self, entry: Entry) -> Iterator[Finding]:
        name = str(entry.get("name"))
        if not entry.get("enable", True):
            yield self._wrong("server entry", f"{name} is disabled: everybody is let in", "enable = true")
            return
        yield from self._loaded(name, entry)
        yield from self._before(name)
        if entry.get("failed_action") != "deny":
            yield self._wrong(
                "failed_action",
                f"{entry.get('failed_action')}: a call that a client makes fail lets it in",
                "failed_action = deny",
            )
        else:
            yield self._ok("failed_action", "deny")
        reconnect = seconds(entry.get("auto_reconnect"))
        if reconnect is None or reconnect > LONGEST_RECONNECT:
            yield self._wrong(
                "auto_reconnect",
                f"{_said(entry.get('auto_reconnect'))}: for so long after a start without the server it is not asked",
                "auto_reconnect = 5s",
            )
        timeout = seconds(entry.get("request_timeout")) or 5.0
        if not SHORTEST_TIMEOUT <= timeout <= LONGEST_TIMEOUT:
            yield self._advice("request_timeout", f"{_said(entry.get('request_timeout'))}", "request_timeout = 5s")
        wanted = POOL * self._server.workers
        if int(entry.get("pool_size") or 0) < wanted:
            yield self._advice(
                "pool_size",
                f"{entry.get('pool_size')} connections a node for {self._server.workers} workers",
                f"pool_size = {wanted}",
            )

    def _loaded(self, name: str, entry: Entry) -> Iterator[Finding]:
        statuses = {str(one.get("node")): str(one.get("status")) for one in entry.get("node_status", [])}
        missing = [str(one.get("node")) for one in self._report.nodes if one.get("node_status") == "running"]
        apart = [f"{node} ({statuses.get(node, 'not there')})" for node in missing if statuses.get(node) != "connected"]
        if apart:
            yield self._wrong(
                "loaded",
                f"{name} is not loaded on {', '.join(apart)}",
                "see that the server runs and that each node reaches `url`; then wait for auto_reconnect",
            )
        else:
            yield self._ok("loaded", f"{name} is connected on all {len(missing)} nodes")
        hooks = {str(one.get("name")) for one in entry.get("hooks", [])}
        absent = [hook for hook in OURS if hook not in hooks]
        if absent:
            yield self._wrong(
                "hooks", f"not registered: {', '.join(absent)}", "disable and enable the server entry, so that it loads"
            )
        elif more := sorted(hooks - set(OURS)):
            yield self._advice(
                "hooks", f"registered beside ours: {', '.join(more)}", "is this another server? each hook costs a call"
            )
        else:
            yield self._ok("hooks", " and ".join(OURS))

    def _before(self, name: str) -> Iterator[Finding]:
        for one in self._report.servers:
            if one.get("name") == name:
                return
            hooks = {str(hook.get("name")) for hook in one.get("hooks", [])}
            if one.get("enable", True) and hooks & set(OURS):
                yield self._wrong(
                    "order",
                    f"the ExHook server {one.get('name')} is asked first, and may decide",
                    f"put {name} in front of it",
                )

    def _ok(self, check: str, said: str) -> Finding:
        return self._finding(check, Grade.OK, said)

    def _advice(self, check: str, said: str, mend: str) -> Finding:
        return self._finding(check, Grade.ADVICE, said, mend)

    def _wrong(self, check: str, said: str, mend: str) -> Finding:
        return self._finding(check, Grade.WRONG, said, mend)

    def _finding(self, check: str, grade: Grade, said: str, mend: str = "") -> Finding:
        return Finding(self._cluster, check, grade, said, mend)


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError:
        return None


def _said(value: Any) -> str:
    return "nothing" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _major(version: str) -> int:
    head = version.removeprefix("e").partition(".")[0]
    return int(head) if head.isdecimal() else FIRST_VERSION


def _at_least(version: str, wanted: tuple[int, int]) -> bool:
    parts = version.removeprefix("e").split(".")[:2]
    return len(parts) == 2 and all(part.isdecimal() for part in parts) and tuple(map(int, parts)) >= wanted  # noqa: PLR2004 - major and minor

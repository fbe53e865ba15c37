"""Whether an EMQX cluster has this server decide, always: what its API tells against what must hold.

Pure: a report in, findings out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from exhook.doctor import emqx_rules as rules
from exhook.doctor.configured import Configured
from exhook.doctor.emqx_rules import OURS, Entry, Seen
from exhook.doctor.finding import Finding, Grade
from exhook.doctor.node_checks import node_checks
from exhook.doctor.reports import Report

CLOCK_MS: Final = 2_000
FIRST_VERSION: Final = 5


@dataclass(frozen=True, slots=True)
class Server:
    """What the settings say of this server."""

    port: int
    """Where brokers call; 0 where it is not known."""
    workers: int
    external_ports: frozenset[int] = frozenset()
    """Ports of the broker's listeners that are declared external."""
    carrier: str = "h2"
    tokens: bool = False
    """Whether the store has access keys, by which clients may have tokens."""


class Checks:
    """The checks of one cluster."""

    def __init__(self, cluster: str, report: Report, server: Server) -> None:
        self._cluster = cluster
        self._report = report
        self._server = server

    def findings(self) -> Iterator[Finding]:
        found = [Finding(self._cluster, *seen) for seen in self._seen()]
        yield from found
        yield from self._nodes_apart({(one.check, one.said) for one in found})

    def _seen(self) -> Iterator[Seen]:
        report = self._report
        yield from self._nodes()
        yield from rules.authentication(report.authenticators, report.users, self._meant)
        yield from rules.authorization(report.sources, report.settings)
        yield from self._listeners()
        yield from self._clock()
        entry = rules.entry_of(report.servers, self._server.port)
        yield from rules.server_entry(entry, self._server.port)
        if entry is not None and entry.get("enable", True):
            yield self._loaded(entry)
            yield rules.hooks(entry)
            yield from self._before(entry)
            yield rules.pool_size(entry, self._server.workers, self._server.carrier)

    @property
    def _meant(self) -> Grade:
        """Who has listeners of his own proof may well have authenticators of his own."""
        return Grade.ADVICE if self._server.external_ports else Grade.WRONG

    def _nodes(self) -> Iterator[Seen]:
        down = [str(one.get("node")) for one in self._report.nodes if one.get("node_status") != "running"]
        versions = sorted({str(one.get("version")) for one in self._report.nodes})
        if down:
            mend = "start them, or take them out of the cluster"
            yield Seen("nodes", Grade.WRONG, f"not running: {', '.join(down)}", mend)
        old = [version for version in versions if _major(version) < FIRST_VERSION]
        if old:
            yield Seen("version", Grade.WRONG, f"EMQX {old[0]} has no such API", "see docs/emqx.md for 4.4")
        elif len(versions) > 1:
            said = f"nodes of several versions: {', '.join(versions)}"
            yield Seen("version", Grade.ADVICE, said, "finish the upgrade")
        else:
            interface = "v3" if _at_least(versions[0] if versions else "", (5, 9)) else "v2"
            said = f"{len(self._report.nodes)} nodes of EMQX {', '.join(versions)} ({interface})"
            yield Seen("version", Grade.OK, said)

    def _listeners(self) -> Iterator[Seen]:
        for one in self._report.listeners:
            port = str(one.get("bind", "")).rpartition(":")[2]
            external = port.isdecimal() and int(port) in self._server.external_ports
            if one.get("enable_authn") is False and one.get("enable", True) and not external:
                said = f"{one.get('id')} lets everybody in unasked: enable_authn = false"
                mend = f"listeners.{str(one.get('id')).replace(':', '.')}.enable_authn = true"
                yield Seen("listener", Grade.WRONG, said, mend)

    def _clock(self) -> Iterator[Seen]:
        offset = self._report.offset_ms
        if offset is None:
            return
        if abs(offset) > CLOCK_MS:
            ahead = "ahead of" if offset > 0 else "behind"
            said = f"the cluster's is {abs(offset) / 1000:.0f} s {ahead} ours"
            yield Seen("clock", Grade.ADVICE, said, "keep both right by NTP")
        else:
            yield Seen("clock", Grade.OK, "the cluster's and ours agree")

    def _loaded(self, entry: Entry) -> Seen:
        name = entry.get("name")
        statuses = {str(one.get("node")): str(one.get("status")) for one in entry.get("node_status", [])}
        running = [str(one.get("node")) for one in self._report.nodes if one.get("node_status") == "running"]
        apart = [f"{node} ({statuses.get(node, 'not there')})" for node in running if statuses.get(node) != "connected"]
        if apart:
            mend = "see that the server runs and that each node reaches `url`; then wait for auto_reconnect"
            return Seen("loaded", Grade.WRONG, f"{name} is not loaded on {', '.join(apart)}", mend)
        return Seen("loaded", Grade.OK, f"{name} is connected on all {len(running)} nodes")

    def _before(self, entry: Entry) -> Iterator[Seen]:
        name = entry.get("name")
        for one in self._report.servers:
            if one.get("name") == name:
                return
            hooks = {str(hook.get("name")) for hook in one.get("hooks", [])}
            if one.get("enable", True) and hooks & set(OURS):
                said = f"the ExHook server {one.get('name')} is asked first, and may decide"
                yield Seen("order", Grade.WRONG, said, f"put {name} in front of it")

    def _nodes_apart(self, known: set[tuple[str, str]]) -> Iterator[Finding]:
        """What a single node is configured with otherwise, beyond what the cluster's answers say."""
        apart = False
        for node in self._report.configured:
            for seen in self._of_node(node):
                if seen.grade is not Grade.OK and (seen.check, seen.said) not in known:
                    apart = True
                    yield Finding(f"{self._cluster} {node.node}", *seen)
        if self._report.untold:
            said = f"not told by {', '.join(self._report.untold)}: EMQX tells it from 5.2 on"
            yield Finding(self._cluster, "configuration", Grade.ADVICE, said, "compare emqx.conf of the nodes yourself")
        elif not apart:
            said = f"each of {len(self._report.configured)} nodes by itself is configured so"
            yield Finding(self._cluster, "configuration", Grade.OK, said)

    def _of_node(self, node: Configured) -> Iterable[Seen]:
        server = self._server
        return node_checks(node, server.port, server.external_ports, self._meant, tokens=server.tokens)


def _major(version: str) -> int:
    head = version.removeprefix("e").partition(".")[0]
    return int(head) if head.isdecimal() else FIRST_VERSION


def _at_least(version: str, wanted: tuple[int, int]) -> bool:
    parts = version.removeprefix("e").split(".")[:2]
    return len(parts) == 2 and all(part.isdecimal() for part in parts) and tuple(map(int, parts)) >= wanted  # noqa: PLR2004 - major and minor

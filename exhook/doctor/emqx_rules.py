"""What must hold of EMQX's settings so that ExHook decides, always; of the cluster as of each node.

What must hold is said, with its reasons, in ``docs/emqx.md``. Pure: settings in, what was seen out.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from exhook.doctor.finding import Grade
from exhook.renewing import TOPIC

LONGEST_RECONNECT: Final = 10.0
SHORTEST_TIMEOUT, LONGEST_TIMEOUT = 1.0, 10.0
LONGEST_CACHE: Final = 60.0
"""Seconds."""
POOL: Final = 8
"""Connections of a node, where nothing else is said; grpcio wants as many for each worker."""

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
OURS: Final = ("client.authenticate", "client.authorize")
"""The hooks that decide; `client.check_acl` is an older name of the second."""

FLOOR: Final = """\
authentication = [{mechanism = password_based, backend = built_in_database, user_id_type = username,
                   password_hash_algorithm = {name = sha256, salt_position = suffix}}]"""

Entry = Mapping[str, Any]


class Seen(NamedTuple):
    """One thing that a rule says of what it was shown."""

    check: str
    grade: Grade
    said: str
    mend: str = ""


def authentication(authenticators: list[Entry], users: Mapping[str, bool], grade: Grade) -> Iterator[Seen]:
    """The floor of CONNECT, and who decides before us: of that grade, since it may be meant so."""
    if not authenticators:
        yield Seen("floor", Grade.WRONG, "without ExHook loaded, everybody gets in: no authenticator is there", FLOOR)
        return
    alone = True
    for one in authenticators:
        name = str(one.get("id") or ":".join(filter(None, (one.get("mechanism"), one.get("backend")))))
        if one.get("backend") != "built_in_database":
            mend = "take it out of `authentication`, or declare its listeners external in [[listeners]]"
            yield Seen("authentication", grade, f"{name} decides about whom it knows", mend)
            alone = False
        elif users.get(name):
            mend = "delete its users; the database is to stay empty"
            yield Seen("authentication", grade, f"the users of {name} never reach ExHook", mend)
            alone = False
    if alone:
        yield Seen("floor", Grade.OK, "whom no authenticator knows is refused while ExHook is not loaded")


def authorization(sources: list[Entry], settings: Entry) -> Iterator[Seen]:
    named = ["file (acl.conf)" if one.get("type") == "file" else str(one.get("type")) for one in sources]
    if named:
        said = f"decided before ExHook is asked, by: {', '.join(named)}"
        yield Seen("authorization", Grade.WRONG, said, "authorization.sources = []")
    else:
        yield Seen("authorization", Grade.OK, "no source of EMQX's own decides first")
    no_match = settings.get("no_match")
    if no_match != "deny":
        said = f"{no_match}: without ExHook everything is allowed"
        yield Seen("no_match", Grade.WRONG, said, "authorization.no_match = deny")
    else:
        yield Seen("no_match", Grade.OK, "deny")
    deny_action = settings.get("deny_action", "ignore")
    if deny_action not in {"ignore", "disconnect"}:
        yield Seen("deny_action", Grade.ADVICE, f"{deny_action}", "authorization.deny_action = ignore")
    else:
        effect = {"ignore": "what is denied is refused, its client stays", "disconnect": "a denial ends the connection"}
        yield Seen("deny_action", Grade.OK, f"{deny_action}: {effect[deny_action]}")
    yield from _cache(settings.get("cache") or {})


def _cache(cache: Entry) -> Iterator[Seen]:
    lives = seconds(cache.get("ttl", "1m"))
    if not cache.get("enable", True):
        yield Seen("cache", Grade.OK, "none: every operation is asked about")
    elif lives is None or lives > LONGEST_CACHE:
        mend = "authorization.cache = {enable = true, ttl = 10s}"
        yield Seen("cache", Grade.ADVICE, f"answers live on for {cache.get('ttl')}", mend)
    else:
        yield Seen("cache", Grade.OK, f"answers live on for {lives:g} s at most")


def entry_of(servers: list[Entry], port: int) -> Entry | None:
    """Our server entry: the one that calls our port, or the only one where the port is not known."""
    ours = [one for one in servers if _port(str(one.get("url"))) == port]
    if ours:
        return ours[0]
    return servers[0] if len(servers) == 1 and not port else None


def server_entry(entry: Entry | None, port: int) -> Iterator[Seen]:
    """Whether there is one, and what happens when the server does not answer."""
    if entry is None:
        said = f"no ExHook server calls port {port}"
        mend = (
            f'exhook.servers = [{{name = exhook, url = "http://ADDRESS:{port}", failed_action = deny, '
            "auto_reconnect = 5s}]"
        )
        yield Seen("server entry", Grade.WRONG, said, mend)
        return
    if not entry.get("enable", True):
        yield Seen(
            "server entry", Grade.WRONG, f"{entry.get('name')} is disabled: everybody is let in", "enable = true"
        )
        return
    failed_action = entry.get("failed_action", "deny")
    if failed_action != "deny":
        said = f"{failed_action}: a call that a client makes fail lets it in"
        yield Seen("failed_action", Grade.WRONG, said, "failed_action = deny")
    else:
        yield Seen("failed_action", Grade.OK, "deny")
    said = _said(entry.get("auto_reconnect", "60s"))
    reconnect = seconds(entry.get("auto_reconnect", "60s"))
    if reconnect is None or reconnect > LONGEST_RECONNECT:
        said += ": for so long after a start without the server it is not asked"
        yield Seen("auto_reconnect", Grade.WRONG, said, "auto_reconnect = 5s")
    else:
        yield Seen("auto_reconnect", Grade.OK, said)
    said = _said(entry.get("request_timeout", "5s"))
    timeout = seconds(entry.get("request_timeout", "5s")) or 0.0
    if not SHORTEST_TIMEOUT <= timeout <= LONGEST_TIMEOUT:
        yield Seen("request_timeout", Grade.ADVICE, said, "request_timeout = 5s")
    else:
        yield Seen("request_timeout", Grade.OK, said)


def pool_size(entry: Entry, workers: int, carrier: str) -> Seen:
    """Whether a node opens connections enough for the workers, and as many for each."""
    found = int(entry.get("pool_size") or POOL)
    # The kernel hands connections out by chance, and evens out over many; our own carrier counts.
    least = POOL * workers if carrier == "grpc" else workers
    uneven = carrier != "grpc" and found % workers
    if found >= least and not uneven:
        return Seen("pool_size", Grade.OK, f"{found} connections a node for {workers} workers")
    said = f"{found} connections a node for {workers} workers" + (", which some get one more of" if uneven else "")
    return Seen("pool_size", Grade.ADVICE, said, f"pool_size = {max(least, -(-found // workers) * workers)}")


def hooks(entry: Entry) -> Seen:
    """Whether both are registered, and nothing else but the topic on which tokens are renewed."""
    found = {str(one.get("name")): one for one in entry.get("hooks", [])}
    absent = [hook for hook in OURS if hook not in found]
    if absent:
        mend = "disable and enable the server entry, so that it loads"
        return Seen("hooks", Grade.WRONG, f"not registered: {', '.join(absent)}", mend)
    more = sorted(name for name, one in found.items() if name not in OURS and not _renews(one))
    if more:
        mend = "is this another server? each hook costs a call"
        return Seen("hooks", Grade.ADVICE, f"registered beside ours: {', '.join(more)}", mend)
    return Seen("hooks", Grade.OK, " and ".join(OURS))


def _renews(hook: Entry) -> bool:
    return hook.get("name") == "message.publish" and (hook.get("params") or {}).get("topics") == [TOPIC]


def seconds(duration: object) -> float | None:
    """A duration of EMQX's (``5s``, ``1m30s``, milliseconds as a number) in seconds; None for none, or `false`."""
    if isinstance(duration, bool) or duration is None:
        return None
    if isinstance(duration, int | float):
        return duration / 1000
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", str(duration))
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if parts else None


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError:
        return None


def _said(value: Any) -> str:
    return "nothing" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

"""EMQX's management API (5.x, 6.x): who is connected, with what subscriptions; and the calls that end both.

Facts from EMQX's own description of its API. What a client chose (client ids, filters) travels in escaped paths,
queries and bodies, and is never trusted to filter for us: what a listing returns is compared again.
"""

import ssl
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from exhook.brokers.emqx_cluster import EmqxCluster, NoApiKey
from exhook.brokers.pace import LONGEST_SECONDS, Pace

PAGE: Final = 1_000
"""Clients or subscriptions asked for at once."""

MOST_PAGES: Final = 10_000
"""Where a listing ends, should the API never say that it does."""

GONE: Final = frozenset({"CLIENTID_NOT_FOUND", "CLIENT_SHUTDOWN"})
"""Codes of a 404 that tell of a client; any other 404 tells of a path that is not there."""

UNADDRESSABLE: Final = frozenset({".", ".."})
"""Client ids that no path can name: servers take them for steps through folders, escaped or not."""

_NOT_THERE: Final = frozenset({404, 405})


class EmqxFault(Exception):
    """A call to the API came to nothing; the message says which cluster's and why, and holds no key."""


class KeyRefused(EmqxFault):
    """401 or 403, or there is no key: no call will succeed until somebody mends that."""


class Unavailable(EmqxFault):
    """Down, slow, overloaded, or at fault itself: the same call may succeed later."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that it asks us to wait; no more than our own longest pause."""


class CallRefused(EmqxFault):
    """The API will not do this one thing."""


@dataclass(frozen=True, slots=True)
class LiveClient:
    """A session that the cluster holds, connected or not."""

    client_id: str
    username: str
    mountpoint: str
    listener: str
    """The broker's id of its listener, ``tcp:default``; empty where this version does not tell."""
    subscriptions: int
    connected_at: int | None = None
    """When it connected last, in milliseconds since the epoch by our clock; None where that is not told."""

    @classmethod
    def of(cls, entry: Mapping[str, Any], ahead_ms: int = 0) -> Self:
        """Read what the API says of one client; what it leaves out or calls null is empty."""
        count = entry.get("subscriptions_cnt")
        return cls(
            client_id=_text(entry.get("clientid")),
            username=_text(entry.get("username")),
            mountpoint=_text(entry.get("mountpoint")),
            listener=_text(entry.get("listener")),
            # Where it is not told, there may be some.
            subscriptions=count if isinstance(count, int) else 1,
            connected_at=_moment(entry.get("connected_at"), ahead_ms),
        )


class EmqxApi:
    """The API of one cluster. Every call waits for its turn, and raises an `EmqxFault` where it comes to nothing."""

    def __init__(self, cluster: EmqxCluster, environ: Mapping[str, str], pace: Pace | None = None) -> None:
        self.cluster = cluster
        self.offset_ms: int | None = None
        """How far the cluster's clock is ahead of ours by its last answer, whole seconds."""
        self._environ = environ
        self._pace = pace or Pace(cluster.calls_per_second)
        self._bulk = True
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(self, path: str, **query: str | int) -> Any:
        """What the API says at a path below ``/api/v5``.

        Raises:
            EmqxFault: it says nothing, or no JSON.
        """
        return self._json(await self._call("GET", path, query=query))

    async def text(self, path: str, **query: str | int) -> str | None:
        """What the API says in plain text at a path, or None where this version has no such text."""
        refused = {400, *_NOT_THERE}
        answer = await self._call("GET", path, query=query, allowed=refused, accept="text/plain")
        told = answer.headers.get("content-type", "").startswith("text/plain")
        return answer.text if told and answer.status_code not in refused else None

    async def find(self, path: str) -> Any:
        """What the API says at a path, or None where this version has no such path."""
        answer = await self._call("GET", path, allowed=_NOT_THERE)
        return None if answer.status_code in _NOT_THERE else self._json(answer)

    async def client(self, client_id: str) -> LiveClient | None:
        """The session of a client id, if there is one."""
        if client_id in UNADDRESSABLE:
            async for one in self.clients(clientid=client_id):
                if one.client_id == client_id:
                    return one
            return None
        answer = await self._call("GET", f"/clients/{_segment(client_id)}", allowed={404})
        if self._gone(answer):
            return None
        return LiveClient.of(self._json(answer), self.offset_ms or 0)

    async def clients(self, **query: str) -> AsyncIterator[LiveClient]:
        """All sessions that a query finds; a client that comes or goes meanwhile may be missed, or come twice."""
        async for entry in self._pages("/clients", query):
            yield LiveClient.of(entry, self.offset_ms or 0)

    async def subscriptions(self, client_id: str) -> list[str]:
        """The filters of one client as the broker holds them: mounted, ``$share/…`` in front."""
        if client_id in UNADDRESSABLE:
            return [topic async for name, topic in self.all_subscriptions(clientid=client_id) if name == client_id]
        answer = await self._call("GET", f"/clients/{_segment(client_id)}/subscriptions", allowed={404})
        if self._gone(answer):
            return []
        return [_text(entry.get("topic")) for entry in self._json(answer)]

    async def all_subscriptions(self, **query: str) -> AsyncIterator[tuple[str, str]]:
        """Client id and filter of every subscription."""
        async for entry in self._pages("/subscriptions", query):
            yield _text(entry.get("clientid")), _text(entry.get("topic"))

    async def disconnect(self, client_ids: Sequence[str]) -> None:
        """End sessions, the persistent ones, too. That one is gone already is no fault."""
        if len(client_ids) == 1 and client_ids[0] not in UNADDRESSABLE:
            self._gone(await self._call("DELETE", f"/clients/{_segment(client_ids[0])}", allowed={404}))
        elif self._bulk or UNADDRESSABLE & set(client_ids):
            await self._disconnect_together(client_ids)
        else:
            for client_id in client_ids:
                await self.disconnect([client_id])

    async def unsubscribe(self, client_id: str, topic: str) -> None:
        """End one subscription; the filter is the client's own, without mountpoint."""
        path = f"/clients/{_segment(client_id)}/unsubscribe"
        self._gone(await self._call("POST", path, body={"topic": topic}, allowed={404}))

    async def clear_cache(self, client_id: str | None = None) -> None:
        """Empty the authorization cache of one client, or of all."""
        if client_id is None or client_id in UNADDRESSABLE:
            await self._call("DELETE", "/authorization/cache")
        else:
            path = f"/clients/{_segment(client_id)}/authorization/cache"
            self._gone(await self._call("DELETE", path, allowed={404}))

    async def listener_ports(self) -> dict[str, int]:
        """The port of each of the broker's listeners, by its id."""
        ports = {}
        for entry in await self.get("/listeners"):
            port = _text(entry.get("bind")).rpartition(":")[2]
            if port.isdecimal():
                ports[_text(entry.get("id"))] = int(port)
        return ports

    async def cluster_name(self) -> str:
        """The name that the cluster's nodes tell, if this version's API tells it."""
        if self.cluster.cluster:
            return self.cluster.cluster
        said = await self.find("/cluster")
        return _text(said.get("name")) if isinstance(said, dict) else ""

    async def _disconnect_together(self, client_ids: Sequence[str]) -> None:
        answer = await self._call("POST", "/clients/kickout/bulk", body=list(client_ids), allowed=_NOT_THERE)
        if answer.status_code in _NOT_THERE:
            # EMQX before 5.2 has no such path.
            self._bulk = False
            if unnamed := UNADDRESSABLE & set(client_ids):
                raise CallRefused(f"{self._who}: cannot disconnect the client id {min(unnamed)!r}; upgrade EMQX")
            await self.disconnect(client_ids)

    async def _pages(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Mapping[str, Any]]:
        for page in range(1, MOST_PAGES + 1):
            said = self._json(await self._call("GET", path, query={**query, "page": page, "limit": PAGE}))
            entries, meta = said.get("data", []), said.get("meta", {})
            for entry in entries:
                yield entry
            if not meta.get("hasnext", len(entries) >= PAGE):
                return

    async def _call(
        self, method: str, path: str, *, query: Mapping[str, str | int] | None = None, body: Any = None,
        allowed: Iterable[int] = (), accept: str = "application/json",
    ) -> httpx.Response:  # fmt: skip
        """One call: 2xx and `allowed` are answers, all else is raised."""
        await self._pace.turn()
        try:
            client = self._opened()
            answer = await client.request(
                method,
                f"/api/v5{path}",
                params=query or None,
                headers={"Accept": accept},
                **({} if body is None else {"json": body}),
            )
        except httpx.TimeoutException:
            raise Unavailable(f"{self._who}: no answer in {self.cluster.timeout_seconds:g} s") from None
        except httpx.HTTPError as error:
            raise Unavailable(f"{self._who}: {_why_unreachable(error)}") from None
        self._note_clock(answer)
        if answer.is_success or answer.status_code in allowed:
            return answer
        raise await self._fault(answer)

    async def _fault(self, answer: httpx.Response) -> EmqxFault:
        status, code = answer.status_code, _code(answer)
        said = f"{status} {code}".rstrip()
        if status in {401, 403}:
            # The next call reads the key anew, should somebody have mended it.
            await self.close()
            return KeyRefused(
                f"{self._who}: refuses the API key ({said}); it must be enabled, unexpired, and may write"
            )
        if status in {408, 429} or status >= 500:  # noqa: PLR2004 - HTTP's own classes
            return Unavailable(f"{self._who}: {said}", _retry_after(answer))
        return CallRefused(f"{self._who}: will not do {answer.request.method} ({said})")

    def _gone(self, answer: httpx.Response) -> bool:
        """Whether a client is not there.

        Raises:
            CallRefused: it is the path that is not there.
        """
        if answer.status_code != 404:  # noqa: PLR2004 - not found
            return False
        if _code(answer) not in GONE:
            raise CallRefused(f"{self._who}: its API has no such call; is it EMQX 5 or later, and `url` right?")
        return True

    def _json(self, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except ValueError:
            raise Unavailable(f"{self._who}: answers with no JSON; is `url` that of its API?") from None

    def _opened(self) -> httpx.AsyncClient:
        """The client, made when first needed, and anew after the key was refused.

        Raises:
            KeyRefused: there is no key, or a certificate file cannot be read.
        """
        if self._client is None:
            try:
                key = self.cluster.api_key(self._environ)
                trusted: ssl.SSLContext | bool = True
                if self.cluster.ca_file is not None:
                    trusted = ssl.create_default_context(cafile=self.cluster.ca_file)
            except NoApiKey as error:
                raise KeyRefused(str(error)) from None
            except (OSError, ssl.SSLError):
                raise KeyRefused(f"{self.cluster.ca_file}: no certificates can be read there") from None
            self._client = httpx.AsyncClient(
                base_url=self.cluster.url,
                auth=(key.key, key.secret),
                verify=trusted,
                timeout=self.cluster.timeout_seconds,
                # Neither proxies nor .netrc of the machine: the key goes to one address alone.
                trust_env=False,
            )
        return self._client

    def _note_clock(self, answer: httpx.Response) -> None:
        if date := answer.headers.get("date"):
            try:
                told = parsedate_to_datetime(date)
                # The zone `-0000` says that there is none; dates of HTTP are in UTC.
                ahead = (told if told.tzinfo else told.replace(tzinfo=UTC)) - datetime.now(UTC)
            except (ValueError, TypeError, OverflowError):
                return
            # Its clock is cut to seconds.
            self.offset_ms = int(ahead.total_seconds() * 1000) + 500

    @property
    def _who(self) -> str:
        return f"EMQX {self.cluster.name!r} ({self.cluster.url})"


def _why_unreachable(error: httpx.HTTPError) -> str:
    """A certificate that is not trusted is named: nothing else here is mended at the cluster, or by `ca_file`."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message}); renew it, or name its issuer by ca_file"
        cause = cause.__cause__ or cause.__context__
    return f"cannot be reached ({type(error).__name__})"


def _segment(client_id: str) -> str:
    return quote(client_id, safe="")


def _text(value: object) -> str:
    """A text that the API tells, where it is one; a client may well be called `undefined`."""
    return value if isinstance(value, str) else ""


def _moment(value: object, ahead_ms: int) -> int | None:
    """What a clock told that is so far ahead of ours."""
    try:
        return int(datetime.fromisoformat(_text(value)).timestamp() * 1000) - ahead_ms
    except (ValueError, OverflowError):
        return None


def _code(answer: httpx.Response) -> str:
    """The API's own name of an error; its message is not repeated, since it may quote what it was sent."""
    try:
        said = answer.json()
    except ValueError:
        return ""
    return _text(said.get("code"))[:64] if isinstance(said, dict) else ""


def _retry_after(answer: httpx.Response) -> float | None:
    text = answer.headers.get("retry-after", "")
    # Whatever it asks for: revocations are to be done soon after it can be reached again.
    return min(float(text), LONGEST_SECONDS) if text.isdecimal() else None

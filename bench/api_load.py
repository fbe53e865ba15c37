"""A process that uploads identities through the management API, as fast as it answers; prints its figures as JSON.

Signing is done as the vendor's SDK does it (V3), without the SDK, which would be what gets measured.
"""

import asyncio
import hashlib
import hmac
import json
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlencode

ACCESS_KEY: Final = "AKbench"
ACCESS_SECRET: Final = "the secret of the bench's access key"
ACTION: Final = "AddCustomAuthIdentity"

_NAMES: Final = (
    "accept", "content-type", "host", "user-agent", "x-acs-action", "x-acs-content-sha256", "x-acs-date",
    "x-acs-signature-nonce", "x-acs-version",
)  # fmt: skip
_SIGNED: Final = ";".join(_NAMES)


def request(host: str, instance: str, number: int) -> bytes:
    """One signed call on the wire."""
    body = urlencode({
        "InstanceId": instance, "Username": f"api-{number:07}", "Secret": f"uploaded secret {number:07}",
        "IdentityType": "USER", "SignMode": "SIGNED",
    })  # fmt: skip
    digest = hashlib.sha256(body.encode()).hexdigest()
    values = (
        "application/json", "application/x-www-form-urlencoded", host, "AlibabaCloud Python TeaDSL/2",
        ACTION, digest, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), uuid.uuid4().hex, "2020-04-20",
    )  # fmt: skip
    headers = dict(zip(_NAMES, values, strict=True))
    canonical = "".join(f"{name}:{value}\n" for name, value in headers.items())
    text = f"POST\n/\n\n{canonical}\n{_SIGNED}\n{digest}"
    to_sign = f"ACS3-HMAC-SHA256\n{hashlib.sha256(text.encode()).hexdigest()}"
    signature = hmac.digest(ACCESS_SECRET.encode(), to_sign.encode(), "sha256").hex()
    headers["authorization"] = f"ACS3-HMAC-SHA256 Credential={ACCESS_KEY},SignedHeaders={_SIGNED},Signature={signature}"
    headers["content-length"] = str(len(body))
    return "\r\n".join(["POST / HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", body]).encode()


class _Connection(asyncio.Protocol):
    """One call after the other: the next one goes out when an answer is in."""

    def __init__(self, asks: Iterator[bytes], took: list[float]) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asks = asks
        self._took = took
        self._received = b""
        self._transport: Any = None
        self._began = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found or len(rest) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            return
        self._took.append(perf_counter() - self._began)
        if not head.startswith(b"HTTP/1.1 200"):
            self.ended.set_exception(RuntimeError(f"refused: {rest.decode()}"))
            self._transport.close()
            return
        self._received = b""
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(RuntimeError(f"the server closed the connection ({error})"))

    def _ask(self) -> None:
        following = next(self._asks, None)
        if following is None:
            self.ended.set_result(None)
            self._transport.close()
            return
        self._began = perf_counter()
        self._transport.write(following)


async def upload(port: int, instance: str, first: int, calls: int, connections: int) -> dict[str, Any]:
    """Make the calls; how long all of them took, and each.

    Raises:
        RuntimeError: one was refused.
    """
    took: list[float] = []
    asks = (request(f"127.0.0.1:{port}", instance, number) for number in range(first, first + calls))
    loop = asyncio.get_running_loop()
    began = perf_counter()
    made = [
        await loop.create_connection(lambda: _Connection(asks, took), "127.0.0.1", port) for _ in range(connections)
    ]
    await asyncio.gather(*(connection.ended for _, connection in made))
    return {"seconds": perf_counter() - began, "took": took}


if __name__ == "__main__":
    port, instance, *counts = sys.argv[1:]
    print(json.dumps(asyncio.run(upload(int(port), instance, *map(int, counts)))))

"""A server that answers every call with the same bytes: what the carrier costs without any policy.

`python bench/noop_server.py aio` is grpcio's asyncio server with a plain unary handler; `carrier` is the
project's own carrier. Prints its port, then serves until SIGTERM.
"""

import asyncio
import signal
import sys
from typing import Any

import grpc
from grpc import aio
from questions import ALLOW, AUTHENTICATE, AUTHORIZE

from exhook.transport.call import Call
from exhook.transport.grpc import GrpcCarrier, Limits


class Constant:
    """A service of one answer."""

    paths = frozenset({AUTHENTICATE, AUTHORIZE})

    def answer(self, _: Call) -> bytes:
        return ALLOW


class PlainHandler(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic in the stubs alone
    """As plain as grpcio can be asked: bytes in, bytes out."""

    def service(self, _: grpc.HandlerCallDetails) -> Any:
        return self._handler

    async def _answer(_: Any, __: aio.ServicerContext[Any, Any]) -> bytes:  # noqa: N805 - no method
        return ALLOW

    _handler = grpc.unary_unary_rpc_method_handler(_answer)


async def serve(kind: str) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    if kind == "carrier":
        carrier = GrpcCarrier(Constant(), "127.0.0.1:0", Limits())
        say(await carrier.start())
        await stopping.wait()
        await carrier.stop(0)
    else:
        server = aio.server()
        server.add_generic_rpc_handlers((PlainHandler(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        say(port)
        await stopping.wait()
        await server.stop(0)


def say(port: int) -> None:
    print(port, flush=True)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))

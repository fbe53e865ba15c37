"""A server that answers every call with the same bytes: what the carrier costs without any policy.

`python bench/noop_server.py aio` is grpcio's asyncio server with a plain unary handler; `grpc` and `h2` are the
carriers of the project, `h2` on uvloop where it is installed. Prints its port, then serves until SIGTERM.
"""

import asyncio
import signal
import sys
from typing import Any

import grpc
from grpc import aio
from questions import ALLOW, AUTHENTICATE, AUTHORIZE

from exhook.transport.call import Call, Carrier
from exhook.transport.grpc import GrpcCarrier
from exhook.transport.h2.carrier import H2Carrier
from exhook.transport.limits import Limits
from exhook.worker import loop_factory


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
    if kind != "aio":
        address = "127.0.0.1:0"
        carrier: Carrier = (
            H2Carrier(Constant(), (address,), Limits()) if kind == "h2" else GrpcCarrier(Constant(), address, Limits())
        )
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
    with asyncio.Runner(loop_factory=loop_factory() if sys.argv[1] == "h2" else None) as runner:
        runner.run(serve(sys.argv[1]))

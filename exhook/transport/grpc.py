"""The carrier on grpcio's asyncio server: the reference, and the fallback.

EMQX pings every connection each minute whether idle or not, ignores SETTINGS_MAX_CONCURRENT_STREAMS, and
leaves calls half open for a string that is not UTF-8; the options and the reading below are for these.
"""

import asyncio
import time
from collections.abc import Callable
from inspect import isawaitable
from typing import Any, Final

import grpc
from grpc import aio

from exhook.transport.call import Call, Refusal, Service, Status
from exhook.transport.limits import Limits, Notices

_STATUS: Final = {code.value[0]: code for code in grpc.StatusCode}
_NO_LIMIT: Final = 2**31 - 1


class GrpcCarrier:
    """Serves unary calls on one address."""

    def __init__(self, service: Service, address: str, limits: Limits, *, notices: Notices | None = None) -> None:
        self._service = service
        self._address = address
        self._limits = limits
        self._notices = notices or Notices()
        self._server = aio.server(options=_options(limits))
        self._server.add_generic_rpc_handlers((_Handlers(self._serve, service),))

    async def start(self) -> int:
        """Begin to accept; the port.

        Raises:
            OSError: the address cannot be bound.
        """
        try:
            port = self._server.add_insecure_port(self._address)
        except RuntimeError:
            raise OSError(
                f"{self._address}: cannot listen there; is the port taken, or the address another host's?"
            ) from None
        await self._server.start()
        return port

    async def stop(self, grace: float) -> None:
        await self._server.stop(grace)

    async def _serve(self, path: str, context: aio.ServicerContext[Any, Any]) -> bytes:
        body = await self._message(context)
        remaining: float | None = context.time_remaining()
        deadline = None if remaining is None else time.monotonic() + remaining
        try:
            answer = self._service.answer(Call(path, body, deadline, context.peer()))
            return await answer if isawaitable(answer) else answer
        except Refusal as refusal:
            self._notices.ended("refused")
            return await _abort(context, refusal.status, str(refusal))

    async def _message(self, context: aio.ServicerContext[Any, Any]) -> bytes:
        """The call's message; a caller that never sends it is let go of in bounded time."""
        remaining: float | None = context.time_remaining()
        longest = self._limits.half_open_seconds
        try:
            async with asyncio.timeout(longest if remaining is None else min(longest, remaining)):
                body = await context.read()
        except TimeoutError:
            self._notices.half_open()
            return await _abort(context, Status.DEADLINE_EXCEEDED, "the call's message did not come")
        if not isinstance(body, bytes):
            self._notices.ended("no_message")
            return await _abort(context, Status.INVALID_ARGUMENT, "the call has no message")
        return body


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic in the stubs alone
    """Finds the handler of a path. Messages stay bytes: what they mean is the service's business."""

    def __init__(self, serve: Callable[..., Any], service: Service) -> None:
        self._handlers = {path: _handler(serve, path) for path in service.paths}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(handler_call_details.method)


def _handler(serve: Callable[..., Any], path: str) -> Any:
    async def handle(_: Any, context: aio.ServicerContext[Any, Any]) -> Any:
        return await serve(path, context)

    # As a stream of one message: the handler runs when the headers come, so that it can bound the wait for the
    # message. On the wire it is the same call.
    return grpc.stream_unary_rpc_method_handler(handle)


async def _abort(context: aio.ServicerContext[Any, Any], status: Status, message: str) -> bytes:
    await context.abort(_STATUS[status.value], message)
    raise AssertionError("abort returned")


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes),
        ("grpc.max_concurrent_streams", _NO_LIMIT),
        # A PING is never a strike: by default grpc-core says GOAWAY to an idle EMQX after four minutes.
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.so_reuseport", 1),
    ]

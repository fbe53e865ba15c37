"""The embedded broker of ``exhook serve --with-broker``: amqtt, in a process of its own.

For trying and testing on one machine, not for production. ``python -m exhook.brokers.amqtt --port 1883 --target
127.0.0.1:9000`` is a broker that asks the ExHook server at ``--target`` (gRPC, ``emqx.exhook.v3``) about every
CONNECT, PUBLISH, SUBSCRIBE and will, as an EMQX would, and refuses whenever no clear yes comes back. It prints
``ready PORT`` on standard output once it accepts connections; all else goes to standard error. It exits 0 on
SIGTERM or SIGINT and, with ``--stdin-lifeline``, when standard input ends.

Limits, some of amqtt's and some ours:

- MQTT 3.1.1 over TCP alone; no TLS, no WebSocket. An MQTT 5 client is answered with return code 1.
- Sessions are not kept over a disconnect, whatever the clean-session flag says, and nothing is kept over a
  restart. Retained messages are kept while it runs.
- Messages arrive with the QoS of the subscription, not the lower of the two, and once for each matching filter.
- Shared subscriptions (``$share/``, ``$queue/``) are refused. There are no ``$SYS`` topics.
- A refused PUBLISH is acknowledged and dropped, as EMQX does for a 3.1.1 client; a refused filter is 0x80 in the
  SUBACK; a refused CONNECT is return code 5.
- Permissions are asked for at the time of the operation: a subscription made stays until the client goes.
- amqtt reads a topic that is not UTF-8 as the text of a Python literal: that text is asked for and passed on.
- A PUBLISH whose topic holds a wildcard is dropped, and amqtt then reads its payload as packets of that client;
  whatever comes of it is asked for like anything else.
"""

import argparse
import asyncio
import contextlib
import importlib
import importlib.metadata
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from exhook.brokers.amqtt_broker import AskingBroker

FAILED = 1
USAGE = 64
HIGHEST_PORT = 65535
SHUTDOWN_SECONDS = 3.0
NODE = "amqtt@127.0.0.1"
NEEDS_AMQTT = "the embedded broker needs amqtt: pip install 'exhook[broker]'"


class StartFailed(Exception):
    """The broker cannot start; the message says why and what to do."""


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the broker until it is told to stop; the exit status."""
    asked = _parse(arguments)
    try:
        importlib.import_module("amqtt")
    except ModuleNotFoundError:
        sys.stderr.write(f"{NEEDS_AMQTT}\n")
        return USAGE
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_run(asked.host, asked.port, asked.target, lifeline=asked.stdin_lifeline))
    except StartFailed as failure:
        sys.stderr.write(f"{failure}\n")
        return FAILED
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Arguments(prog="python -m exhook.brokers.amqtt", description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=1883, help="MQTT port; 0 takes any free one (default: 1883)")
    parser.add_argument("--target", default="127.0.0.1:9000", help="the ExHook server (default: %(default)s)")
    parser.add_argument("--stdin-lifeline", action="store_true", help="stop when standard input ends")
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give a number from 0 to {HIGHEST_PORT}")
    return int(text)


async def _run(host: str, port: int, target: str, *, lifeline: bool) -> None:
    from exhook.brokers.amqtt_broker import AskingBroker  # noqa: PLC0415 - needs amqtt
    from exhook.brokers.provider import Provider, ProviderNotLoaded  # noqa: PLC0415 - slow to load
    from protos import exhook_v3_pb2 as wire  # noqa: PLC0415 - slow to load

    stop = _told_to_stop(lifeline=lifeline)
    connections: dict[asyncio.Task[Any] | None, asyncio.StreamWriter] = {}

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        connections[task] = writer
        try:
            await broker.serve(reader, writer)
        finally:
            del connections[task]

    version = importlib.metadata.version("amqtt")
    meta = wire.RequestMeta(node=NODE, version=version, sysdescr="amqtt", cluster_name="embedded")
    server, port = await _listen(accept, host, port)
    provider = Provider(target, meta)
    try:
        await provider.load()
        broker = AskingBroker(provider, NODE, port)
        await broker.start()
        await server.start_serving()
        _announce(host, port)
        await stop.wait()
        server.close()
        await _shut_down(broker, connections)
    except ProviderNotLoaded as refused:
        raise StartFailed(str(refused)) from refused
    finally:
        server.close()
        await provider.close()


async def _listen(accept: Callable[..., Any], host: str, port: int) -> tuple[asyncio.Server, int]:
    try:
        server = await asyncio.start_server(accept, host, port, start_serving=False)
    except OSError as error:
        raise StartFailed(
            f"cannot listen on {host}:{port} ({error.strerror or error}):"
            " choose another --host or --port; --port 0 takes any free one"
        ) from error
    return server, int(server.sockets[0].getsockname()[1])


def _announce(host: str, port: int) -> None:
    sys.stderr.write(f"amqtt, MQTT 3.1.1 on {host}:{port}: for trying and testing, not for production\n")
    sys.stderr.flush()
    sys.stdout.write(f"ready {port}\n")
    sys.stdout.flush()


async def _shut_down(broker: "AskingBroker", connections: dict[asyncio.Task[Any] | None, asyncio.StreamWriter]) -> None:
    """Close everything within a bounded time; what then still hangs is cut off."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SHUTDOWN_SECONDS):
            await broker.shutdown()
    for writer in connections.values():
        writer.transport.abort()
    tasks = [task for task in connections if task is not None]
    if tasks:
        await asyncio.wait(tasks, timeout=SHUTDOWN_SECONDS)


def _told_to_stop(*, lifeline: bool) -> asyncio.Event:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if lifeline:
        # A thread, because not every standard input (/dev/null, a file) can be waited for by an event loop.
        threading.Thread(target=_watch, args=(loop, stop), daemon=True).start()
    return stop


def _watch(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    with contextlib.suppress(RuntimeError):  # the loop may be closed already
        loop.call_soon_threadsafe(stop.set)


if __name__ == "__main__":
    sys.exit(main())

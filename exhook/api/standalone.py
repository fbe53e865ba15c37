"""The API by itself: a program that serves until it is told to end."""

import asyncio
import os
import signal
from collections.abc import Callable

from exhook.api.serving import ApiServer, take_turns
from exhook.certificate_watch import watches
from exhook.logs import configure, logger
from exhook.settings import InvalidSettings, Settings, split_address
from store.seal import SealKeys


async def run(settings: Settings, reload: Callable[[], Settings]) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP takes on settings.

    Raises:
        CannotStart, StoreUnavailable, SealError: it could not start.
    """
    take_turns()
    server = ApiServer(settings, SealKeys.from_environment(os.environ, settings.seal_key_file))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: _take_on(server, reload))
    port = await server.start()
    host, _ = split_address(settings.api or "")
    logger.info(
        "management API",
        address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        tls=settings.api_tls_cert is not None,
        store=str(settings.db),
    )
    watching = [loop.create_task(watch.run()) for watch in watches(settings, ["api"])]
    try:
        await stopping.wait()
        logger.info("draining")
    finally:
        for task in watching:
            task.cancel()
        await server.stop()
    logger.info("stopped")


def _take_on(server: ApiServer, reload: Callable[[], Settings]) -> None:
    try:
        wanted = reload()
    except InvalidSettings as error:
        logger.error("settings not reloaded; the last good ones stay in force", why=str(error))
        return
    changed = wanted.kept_until_restart(server.settings)
    configure(changed)
    server.reload(changed)
    logger.info("API settings reloaded")

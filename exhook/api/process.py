"""The API as a process of its own, which the supervisor starts, and starts again should it die.

It is told settings by lines of JSON, as the workers are, and ends when standard input does.
"""

import asyncio
import json
import os
import signal
import sys

from exhook.api.serving import ApiServer, take_turns
from exhook.child import lines, say
from exhook.faults import CannotStart
from exhook.logs import configure, error_place, logger
from exhook.settings import Settings
from store.seal import SealError, SealKeys
from store.unavailable import StoreUnavailable


def main() -> int:
    """Serve until standard input ends or SIGTERM comes; the exit code."""
    take_turns()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return asyncio.run(_run())


async def _run() -> int:
    told = lines()
    settings = Settings.model_validate(json.loads(await anext(told)))
    configure(settings)
    try:
        server = ApiServer(settings, SealKeys.from_environment(os.environ, settings.seal_key_file))
        say({"ready": await server.start()})
    except (StoreUnavailable, SealError, CannotStart) as error:
        say({"failed": str(error)})
        return 1

    async def listen() -> None:
        async for line in told:
            try:
                changed = Settings.model_validate(json.loads(line))
                configure(changed)
                server.reload(changed)
            except Exception as error:  # noqa: BLE001 - whatever it is, calls are answered
                logger.error("API settings not reloaded; the last good ones stay in force", why=error_place(error))
            else:
                logger.info("API settings reloaded")

    listening = asyncio.create_task(listen())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, listening.cancel)
    await asyncio.wait([listening])
    await server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How a child process talks with the supervisor: lines of JSON, settings in, the port out."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any


async def lines() -> AsyncIterator[str]:
    """What the supervisor says, until it is gone or wants this process gone."""
    # It alone says anything here, and settings have no longest length.
    reader = asyncio.StreamReader(limit=sys.maxsize)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode()


def say(message: dict[str, Any]) -> None:
    """Tell the supervisor something; the first thing is ``ready`` with the port, or ``failed`` with the reason."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()

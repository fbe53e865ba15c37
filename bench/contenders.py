"""All servers that are compared, running side by side."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from baselines import baselines
from machine import server_core
from servers import Server, exhook, noop
from stores import kept

CARRIERS: Final = ("grpc", "h2")


@contextmanager
def contenders(folder: Path, records: int, left_out: list[str]) -> Iterator[list[Server]]:
    """Every server that can be had here, on one core: those of others, no-op servers on our carriers, exhook.

    `left_out` is told the others, a sentence each.
    """
    core = server_core()
    with ExitStack() as stack:
        servers = stack.enter_context(baselines(folder, left_out, core=core))
        servers += [stack.enter_context(noop(kind, core=core)) for kind in ("aio", *CARRIERS)]
        for carrier in CARRIERS:
            store = kept(records, folder, carrier)
            servers.append(stack.enter_context(exhook(store.path, store.key_file, cores=(core,), carrier=carrier)))
        yield servers

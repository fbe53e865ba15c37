"""A server takes as many files and sockets as it is allowed, whatever a shell gave it."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from server_under_test import Server

from exhook.descriptors import ENOUGH

LOOK = """
import resource
from exhook.descriptors import take_what_is_allowed
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
take_what_is_allowed()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("soft", "hard"), [(256, 512), (512, 512)])
def test_it_takes_what_is_allowed(soft: int, hard: int) -> None:
    said = subprocess.run(
        [sys.executable, "-c", LOOK.format(soft=soft, hard=hard)], capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == [str(hard), str(hard)]
    assert hard < ENOUGH


def test_every_process_of_a_server_does(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        server = Server(tmp_path, "--workers", "1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with server:
        for pid in (server.pid, *server.workers().values()):
            assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] == min(hard, ENOUGH)

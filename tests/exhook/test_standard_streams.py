"""A server serves, whichever standard streams it was started without."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from server_under_test import PATIENCE, until

from store.runtime import Runtime


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_server_whose_standard_streams_are_closed(tmp_path: Path, closed: str) -> None:
    """A pipe would come to stand in their place."""
    (tmp_path / "policy.yaml").write_text("format: exhook/v1\npermissions: [{username: u, publish: [a]}]\n")
    settings = "--policy policy.yaml --listen 127.0.0.1:0 --db exhook.db"
    command = f"exec {shlex.quote(sys.executable)} -m exhook serve {settings} {closed}"
    process = subprocess.Popen(["/bin/sh", "-c", command], cwd=tmp_path)
    try:
        with Runtime.open(tmp_path / "exhook.db") as runtime:
            [worker] = until(runtime.workers, what="a worker that reports")
        for pid in (process.pid, worker.pid):
            for name in ("0", "1", "2"):
                stands = str((Path("/proc") / str(pid) / "fd" / name).readlink())
                assert not stands.startswith("socket:"), (pid, name)
                assert "exhook.db" not in stands, (pid, name)
        process.terminate()
        assert process.wait(timeout=PATIENCE) == 0
    finally:
        process.kill()

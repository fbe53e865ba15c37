"""What a start must not load, for its time is spent on modules: what only some settings, or people, ask for."""

import subprocess
import sys

import pytest

LATE = ("httpx", "rich", "ruamel.yaml", "cryptography.x509", "grpc", "starlette", "uvicorn", "store.sync.document")


@pytest.mark.parametrize("module", ["exhook.server", "exhook.worker"])
def test_a_server_of_few_settings_loads_little(module: str) -> None:
    program = f"import sys, {module}\nprint(*sorted(sys.modules.keys() & set({LATE!r})))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert loaded.stdout.split() == []

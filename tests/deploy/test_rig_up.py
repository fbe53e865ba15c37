"""The rig with Mosquitto, brought up for real by a Docker engine that the test starts itself.

No image is pulled: the base image is made by debootstrap, the wheels by pip. That takes some minutes, so it is run by
`make rig` (or with EXHOOK_TEST_RIG=1) alone, as root, where Debian's docker.io, docker-compose and debootstrap are.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PROGRAMS: Final = ("dockerd", "docker", "docker-compose", "debootstrap")
PACKAGES: Final = "python3,python3-venv,ca-certificates,gcc,libc6-dev,mosquitto"
MIRROR: Final = "http://deb.debian.org/debian"
BASE: Final = "exhook-rig-base"
PROFILE: Final = ("--profile", "mosquitto")
POLICY: Final = Path("deploy", "compose", "policy", "policy.yaml")


def obstacle() -> str:
    """What keeps the rig from being brought up here; nothing where it can be."""
    if os.environ.get("EXHOOK_TEST_RIG") != "1":
        return "takes minutes; `make rig` runs it"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"no {', '.join(missing)} (apt-get install docker.io docker-compose debootstrap)"
    return "" if os.geteuid() == 0 else "a Docker engine is started by root alone"


pytestmark = [pytest.mark.skipif(bool(obstacle()), reason=obstacle()), pytest.mark.timeout(3000)]


class Rig:
    """A checkout of its own, and an engine that knows its base image."""

    def __init__(self, root: Path, socket: Path) -> None:
        self.root = root
        self.environment = os.environ | {
            "DOCKER_HOST": f"unix://{socket}",
            "DOCKER_BUILDKIT": "0",  # the builder that comes with Debian's engine
            "EXHOOK_RIG_BASE": BASE,
            "EXHOOK_RIG_NO_INDEX": "1",
        }

    def docker(self, *arguments: str) -> str:
        return self._run("docker", *arguments, cwd=self.root).stdout

    def compose(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return self._run("docker-compose", *PROFILE, *arguments, cwd=self.root / "deploy" / "compose", check=check)

    def _run(self, *command: str, cwd: Path, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            command, cwd=cwd, env=self.environment, capture_output=True, text=True, check=False, timeout=900
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a Docker engine."""
    folder = tmp_path_factory.mktemp("engine")
    socket = folder / "socket"
    command = (
        "dockerd", "--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"),
        "--pidfile", str(folder / "pid"), "--host", f"unix://{socket}",
    )  # fmt: skip
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + 30
            while not socket.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.2)
            if not socket.exists():
                said = (folder / "log").read_text(errors="replace").splitlines()[-3:]
                pytest.skip(f"no Docker engine can be started here: {' / '.join(said)}")
            yield socket
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def rig(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    root = tmp_path_factory.mktemp("rig") / "exhook"
    ignored = shutil.ignore_patterns(".git", ".venv", "*.db*", "__pycache__", ".*_cache", ".hypothesis", ".run")
    shutil.copytree(ROOT, root, ignore=ignored)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", "deploy/wheels", ".[broker]", "hatchling")
    subprocess.run(pip, cwd=root, check=True, timeout=600)
    base = root.parent / "base"
    debootstrap = ("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(base), MIRROR)
    subprocess.run(debootstrap, check=True, timeout=900, stdout=subprocess.DEVNULL)
    rig = Rig(root, engine)
    archive = root.parent / "base.tar"
    subprocess.run(["tar", "-C", str(base), "-cf", str(archive), "."], check=True, timeout=300)
    rig.docker("import", str(archive), BASE)
    rig.compose("build", "keys", "mosquitto")
    yield rig
    rig.compose("down", "--volumes", check=False)


def test_the_demo_goes_as_its_policy_says_and_an_edit_is_applied(rig: Rig) -> None:
    # Folders of the checkout are mounted into containers whose user is another.
    for folder in (rig.root, *rig.root.parents):
        folder.chmod(folder.stat().st_mode | 0o055)
    done = rig.compose("up", "--exit-code-from", "demo-mosquitto", "demo-mosquitto", check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    assert "17 of 17 went as the policy says." in done.stdout
    assert "4 of 4 went as the policy says." in done.stdout, "a client that is blacklisted loses its connection"

    rig.compose("up", "--detach", "mosquitto")
    policy = rig.root / POLICY
    policy.write_text(policy.read_text(encoding="utf-8").replace('"announce/#"', '"elsewhere/#"'), encoding="utf-8")
    deadline = time.monotonic() + 30
    while "elsewhere/#" not in rig.compose("exec", "-T", "exhook-mosquitto", "exhook-sync", "export").stdout:
        assert time.monotonic() < deadline, "the edit was not applied"
        time.sleep(0.5)
    again = rig.compose("run", "--rm", "demo-mosquitto", check=False)
    assert again.returncode == 1
    assert re.search(r" NO +… hears announcements +refused", again.stdout), again.stdout


def test_the_server_can_write_nothing_but_its_data(rig: Rig) -> None:
    rig.compose("up", "--detach", "mosquitto")
    shell = ("exec", "-T", "exhook-mosquitto", "sh", "-c")
    assert rig.compose(*shell, "id -u").stdout.strip() == "10001"
    assert rig.compose(*shell, "touch /opt/exhook/x", check=False).returncode != 0
    assert rig.compose(*shell, "touch /policy/x", check=False).returncode != 0
    assert rig.compose(*shell, "touch /data/x").returncode == 0
    key = rig.compose(*shell, "cat /keys/seal.key").stdout.split()[-1]
    assert len(key) > 20
    assert key not in rig.compose("logs", "--no-color").stdout

"""The rig's files agree with what they are copies of, and hold what makes its containers harmless."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML
from test_emqx_configuration import HOCON, read_hocon

from exhook import cli
from exhook.settings import load_settings

ROOT: Final = Path(__file__).parents[2]
RIG: Final = ROOT / "deploy" / "compose"
DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"
PINNED: Final = re.compile(r"[a-z/-]+:v?\d+(\.\d+)+|exhook-rig(-mosquitto)?")
OURS: Final = ("keys", "exhook", "exhook-mosquitto", "demo-emqx", "demo-mosquitto", "mosquitto")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe", pure=True).load((RIG / "docker-compose.yml").read_text(encoding="utf-8"))
    return dict(found["services"])


def test_images_are_pinned(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert PINNED.fullmatch(service["image"]), f"{name}: {service['image']}"
    (base,) = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert re.fullmatch(r"debian:bookworm-\d{8}-slim", base)
    assert services["exhook"]["build"]["args"]["BASE"] == f"${{EXHOOK_RIG_BASE:-{base}}}"


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_do_little(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    if name != "keys":
        assert "user" not in service, "the Dockerfile's user is the one"


def test_both_images_run_as_nobody_in_particular() -> None:
    stages = DOCKERFILE.read_text(encoding="utf-8").split("\nFROM ")
    for stage in stages:
        if " AS exhook\n" in stage or " AS mosquitto\n" in stage:
            assert "\nUSER 10001:10001\n" in stage


def test_ports_are_open_to_this_machine_alone(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert len(ports) == 5
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_each_broker_has_a_client_that_tells(services: dict[str, Any]) -> None:
    for profile, brokers in (("emqx", ["emqx1.rig", "emqx2.rig", "haproxy"]), ("mosquitto", ["mosquitto"])):
        demo = services[f"demo-{profile}"]
        assert demo["profiles"] == services[brokers[-1]]["profiles"] == [profile]
        assert [one for one in demo["command"] if "against" in one] == [f"--against={name}:1883" for name in brokers]
        assert "--db=/data/exhook.db" in demo["command"]
    emqx = load_settings({}, {}, RIG / "exhook" / "emqx.toml").emqx[0]
    command = services["demo-emqx"]["command"]
    assert {f"--emqx-api={emqx.url}", f"--api-key-file={emqx.api_key_file}", "--insecure"} <= set(command)


def test_emqx_is_attached_as_its_page_says() -> None:
    ours = read_hocon((RIG / "emqx" / "emqx.conf").read_text(encoding="utf-8"))
    shipped = read_hocon(HOCON.read_text(encoding="utf-8"))
    (server,) = shipped["exhook"]["servers"]
    server["url"] = "http://exhook:9000"
    workers = load_settings({}, {}, RIG / "exhook" / "emqx.toml").workers
    server["pool_size"] = str(8 * workers)
    for name, value in shipped.items():
        assert ours.pop(name) == value
    assert sorted(ours) == ["api_key", "dashboard", "node"]


@pytest.mark.parametrize("name", ["emqx", "mosquitto"])
def test_the_settings_can_be_read(name: str) -> None:
    settings = load_settings({}, {}, RIG / "exhook" / f"{name}.toml")
    assert [cluster.name for cluster in settings.emqx] == (["rig"] if name == "emqx" else [])
    assert str(settings.policy) == "/policy"


def test_mosquitto_is_attached_as_the_command_says(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--plugin", "/usr/lib/mosquitto_exhook.so", "--listener", "1883", "--address", "exhook:9000")
    assert cli.run(["mosquitto", "config", *options, "--node", "mosquitto", "--deadline-ms", "3000"]) == 0
    assert (RIG / "mosquitto" / "rig.conf").read_text(encoding="utf-8").endswith(capsys.readouterr().out)


def test_the_policy_is_that_of_the_demo() -> None:
    demo = (ROOT / "exhook" / "demo" / "policy.yaml").read_text(encoding="utf-8")
    rig = (RIG / "policy" / "policy.yaml").read_text(encoding="utf-8")
    assert rig.splitlines()[2:] == demo.splitlines()[2:], "the first two lines say where it is used"


def compose(*program: str) -> bool:
    """Whether this Compose is installed: v1.29 is a program of its own, v2 a part of `docker`."""
    if shutil.which(program[0]) is None:
        return False
    return subprocess.run([*program, "version"], capture_output=True, check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("profile", ["emqx", "mosquitto"])
@pytest.mark.parametrize("program", [("docker-compose",), ("docker", "compose")], ids=" ".join)
def test_compose_understands_it(program: tuple[str, ...], profile: str) -> None:
    if not compose(*program):
        pytest.skip(f"no {' '.join(program)} is installed (apt-get install docker-compose brings v1.29)")
    done = subprocess.run(
        [*program, "--profile", profile, "config", "--quiet"],
        cwd=RIG, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")

"""The units of systemd: hardened as far as they say, started by commands and options that there are."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from exhook.cli import app as exhook_app
from exhook.settings import PREFIX, Settings, load_settings
from exhook.status import Status
from store.database import Database
from store.runtime import Runtime
from store.seal import SealKeys
from store.sync.apply import apply_policy
from store.sync.cli import app as sync_app
from store.sync.exit_codes import ExitCode
from store.sync.late import whole
from store.sync.references import SecretSources

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS: Final = ("exhook", "exhook-sync")
COMMANDS: Final[dict[str, Any]] = {"exhook": whole(exhook_app), "exhook-sync": whole(sync_app)}
MOST_EXPOSED: Final = {"exhook": 1.2, "exhook-sync": 0.4}
"""What `systemd-analyze security` of systemd 252 says: 0 is best, 10 worst."""

HARDENED: Final = {
    "DynamicUser": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
    "PrivateDevices": "yes", "PrivateUsers": "yes", "ProtectClock": "yes", "ProtectHostname": "yes",
    "ProtectControlGroups": "yes", "ProtectKernelLogs": "yes", "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes", "ProtectProc": "invisible", "ProcSubset": "pid", "NoNewPrivileges": "yes",
    "LockPersonality": "yes", "MemoryDenyWriteExecute": "yes", "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes", "RestrictSUIDSGID": "yes", "SystemCallArchitectures": "native",
    "CapabilityBoundingSet": "", "AmbientCapabilities": "", "UMask": "0077", "StateDirectoryMode": "0700",
}  # fmt: skip

Unit = dict[str, list[str]]


def unit_of(file: str) -> Unit:
    """What a unit says, by name: every value, for some stand there several times."""
    found: Unit = {}
    for line in (FOLDER / file).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", "[")):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture(params=UNITS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def unit(name: str) -> Unit:
    return unit_of(f"{name}.service")


def test_it_is_hardened(unit: Unit) -> None:
    assert {one: unit.get(one) for one in HARDENED} == {one: [value] for one, value in HARDENED.items()}
    assert unit["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]


def test_both_share_a_user_and_a_store() -> None:
    server, sync = (unit_of(f"{name}.service") for name in UNITS)
    for one in ("User", "StateDirectory", "WorkingDirectory", "LoadCredential", "UMask", "StateDirectoryMode"):
        assert server[one] == sync[one]
    assert "Group" not in server


def test_only_the_server_has_a_network() -> None:
    server, sync = (unit_of(f"{name}.service") for name in UNITS)
    assert set(server["RestrictAddressFamilies"][0].split()) == {"AF_INET", "AF_INET6", "AF_UNIX"}
    assert (sync["RestrictAddressFamilies"], sync["PrivateNetwork"]) == (["AF_UNIX"], ["yes"])


def test_it_starts_a_command_with_options_that_there_are(name: str, unit: Unit) -> None:
    path, word, *words = shlex.split(unit["ExecStart"][0])
    assert path == f"/opt/exhook/bin/{name}"
    command = COMMANDS[name].commands[word]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {one for one in words if one.startswith("-")} <= options


def test_its_variables_are_settings_of_the_command(name: str, unit: Unit) -> None:
    """Each names a credential that the unit loads, or their folder."""
    known = (
        {PREFIX + one.upper() for one in Settings.model_fields}
        if name == "exhook"
        else {parameter.envvar for parameter in COMMANDS[name].commands["watch"].params}
    )
    variables = dict(one.split("=", 1) for one in unit["Environment"])
    assert variables.keys() <= known
    loaded = {one.partition(":")[0] for one in unit["LoadCredential"]}
    assert {value.removeprefix("%d").lstrip("/") for value in variables.values()} <= loaded | {""}


def test_keys_come_as_credentials_alone(unit: Unit) -> None:
    assert unit["LoadCredential"] == ["seal.key:/etc/exhook/seal.key"]
    assert not [value for value in unit["Environment"] if "/etc/" in value]


def test_how_it_starts_and_ends() -> None:
    server, sync = (unit_of(f"{name}.service") for name in UNITS)
    assert server["Type"] == ["notify"]
    assert server["ExecReload"][0].split()[-2:] == ["-HUP", "$MAINPID"]
    assert int(server["TimeoutStopSec"][0]) > Settings().drain_seconds
    assert (server["Restart"], server["RestartSec"], server["TimeoutStartSec"]) == (["always"], ["1"], ["infinity"])
    assert sync["RestartPreventExitStatus"] == [str(int(ExitCode.REFUSED))]


def test_the_drop_in_changes_what_is_there() -> None:
    changed = unit_of("operators.conf")
    for name in UNITS:
        assert changed.keys() - {"Group"} <= unit_of(f"{name}.service").keys()
    assert (changed["UMask"], changed["StateDirectoryMode"]) == (["0007"], ["2770"])


def test_systemd_understands_it(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze is installed (apt-get install systemd)")
    text = (FOLDER / f"{name}.service").read_text(encoding="utf-8")
    # The program need not be there.
    unit = tmp_path / f"{name}.service"
    unit.write_text(text.replace(f"/opt/exhook/bin/{name}", "/bin/true"), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_how_exposed_it_is(name: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze is installed (apt-get install systemd)")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(FOLDER / f"{name}.service")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    said = re.search(rf"Overall exposure level for {name}\.service: ([\d.]+)", done.stdout)
    assert said, done.stderr
    assert float(said[1]) <= MOST_EXPOSED[name]


class TestCredentials:
    def test_paths_may_begin_with_their_folder(self, tmp_path: Path) -> None:
        config = tmp_path / "exhook.toml"
        config.write_text(
            'seal_key_file = "$CREDENTIALS_DIRECTORY/seal.key"\ncarrier = "h2"\n'
            'tls_cert = "c.pem"\ntls_key = "$CREDENTIALS_DIRECTORY/tls.key"\n'
            '[[emqx]]\nname = "a"\nurl = "http://127.0.0.1:1"\napi_key_file = "$CREDENTIALS_DIRECTORY/emqx.key"\n'
        )
        environ = {
            "CREDENTIALS_DIRECTORY": "/run/credentials/x",
            "EXHOOK_SECRETS_DIR": "$CREDENTIALS_DIRECTORY/secrets",
        }  # fmt: skip
        found = load_settings({}, environ, config)
        assert found.seal_key_file == Path("/run/credentials/x/seal.key")
        assert found.secrets_dir == Path("/run/credentials/x/secrets")
        assert found.emqx[0].api_key_file == Path("/run/credentials/x/emqx.key")
        assert {file.name for file in found.private_files} == {"seal.key", "tls.key", "emqx.key"}

    def test_without_the_folder_it_is_one_sentence(self) -> None:
        with pytest.raises(ValueError, match=r"^\$CREDENTIALS_DIRECTORY/k: there is no \$CREDENTIALS_DIRECTORY here"):
            load_settings({"seal_key_file": Path("$CREDENTIALS_DIRECTORY/k")}, {})


POLICY: Final = "format: exhook/v1\nidentities: [{username: u, sign_mode: origin, secret: {literal: s}}]\n"
SERVER, OPERATOR, GROUP, STRANGER = 54_201, 54_202, 54_210, 54_203


class TestOperators:
    """Two users of one group on one store, as the drop-in makes them."""

    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        if os.geteuid() != 0:
            pytest.skip("needs root, to be two users")
        # Not pytest's own, which other users do not get into.
        with tempfile.TemporaryDirectory() as made:
            state = Path(made)
            os.chown(state, SERVER, GROUP)
            state.chmod(0o2770)
            (state / "policy.yaml").write_text(POLICY)
            (state / "policy.yaml").chmod(0o644)
            yield state

    def test_the_operator_writes_what_the_server_made_and_the_other_way_round(self, folder: Path) -> None:
        store = folder / "exhook.db"

        def serve() -> None:
            Database.open(store, SealKeys()).close()
            with Runtime.open(store) as runtime:
                runtime.report("0", 1, 0, 0)

        def apply(text: str = POLICY) -> None:
            (folder / "policy.yaml").write_text(text)
            done = apply_policy(store, SealKeys(), [folder / "policy.yaml"], SecretSources({}, None), actor="test")
            assert done.revision

        def look() -> None:
            with Database.open(store, SealKeys(), create=False) as database:
                assert Status.of(database, 0).store
            with Runtime.open(store) as runtime:
                runtime.say("x", {}, 0)

        (folder / "policy.yaml").chmod(0o666)
        assert as_user(SERVER, serve) == ""
        assert as_user(OPERATOR, apply) == ""
        assert as_user(OPERATOR, look) == ""
        assert as_user(SERVER, lambda: apply(POLICY.replace("username: u", "username: v"))) == ""
        assert as_user(SERVER, look) == ""
        for file in folder.glob("exhook*db*"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o660, file
            assert file.stat().st_gid == GROUP
        assert "PermissionError" in as_user(STRANGER, lambda: store.read_bytes() and None, group=STRANGER)

    def test_without_a_shared_folder_the_file_is_its_owners(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            for mode, made in ((0o700, 0o600), (0o770, 0o600), (0o2750, 0o600), (0o2770, 0o660)):
                folder = tmp_path / f"{mode:o}"
                folder.mkdir()
                folder.chmod(mode)
                Database.open(folder / "exhook.db", SealKeys()).close()
                assert stat.S_IMODE((folder / "exhook.db").stat().st_mode) == made
        finally:
            os.umask(before)


def as_user(user: int, work: Callable[[], Any], *, group: int = GROUP) -> str:
    """Do it in a process of another user; the traceback, if it fails."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        said = ""
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            os.umask(0o007)
            work()
        except BaseException:  # noqa: BLE001 - told to the parent
            said = traceback.format_exc()
        os.write(writing, json.dumps(said)[:60_000].encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        found: str = json.loads(answer.read())
    return found

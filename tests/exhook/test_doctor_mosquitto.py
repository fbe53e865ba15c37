"""`exhook doctor --mosquitto`: what in a configuration keeps this server from deciding, each with its line."""

import os
import socket
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pytest
from commands_under_test import Exhook
from mosquitto_under_test import Broker, listener, needs_mosquitto
from server_under_test import HOST, Server
from worker_under_test import INSTANCE, Store, identity, permission

from exhook.brokers.mosquitto.conf_file import CannotRead, read_configuration
from exhook.brokers.mosquitto.library import plugin_version
from exhook.doctor.finding import Finding, Grade, in_force
from exhook.doctor.mosquitto_checks import MosquittoChecks, Rules
from exhook.doctor.mosquitto_host import Host
from exhook.doctor.plugin_checks import Asked
from exhook.listeners import ListenerRule

PLUGIN: Final = "{folder}/mosquitto_exhook.so"
LINES: Final = (
    "listener 1883 127.0.0.1",
    "allow_anonymous false",
    f"plugin {PLUGIN}",
    "plugin_opt_address 127.0.0.1:9000",
)
OTHER: Final = "plugin {folder}/mosquitto_dynamic_security.so"
EACH: Final = "per_listener_settings true"
TLS: Final = "certfile /etc/server.crt"
NAMES: Final = ("use_identity_as_username true", "plugin_opt_auth certificate")


class HostUnderTest(Host):
    """A machine with a Mosquitto, and a server where the plugin looks for it."""

    def __init__(self) -> None:
        self.broker = "2.1.2"
        self.built = version("exhook")
        self.why = ""
        self.closed = False

    def version(self) -> str:
        return self.broker

    def plugin_version(self, library: Path) -> str | None:
        library.stat()
        return self.built if "exhook" in library.name else None

    def unreadable_for(self, user: str, file: Path) -> Path | None:  # noqa: ARG002 - as the other has it
        return file.parent if self.closed else None

    def cannot_reach(self, address: str | tuple[str, int]) -> str:  # noqa: ARG002 - as the other has it
        return self.why


@pytest.fixture
def host() -> HostUnderTest:
    return HostUnderTest()


def written(folder: Path, *lines: str) -> Path:
    (folder / "mosquitto_exhook.so").touch()
    (folder / "mosquitto_dynamic_security.so").touch()
    file = folder / "mosquitto.conf"
    file.write_text("".join(f"{line}\n" for line in lines).replace("{folder}", str(folder)), encoding="utf-8")
    return file


def found(
    folder: Path, host: HostUnderTest, *lines: str, rules: Rules = Rules(), **asked: Any  # noqa: B008 - frozen
) -> list[Finding]:  # fmt: skip
    file = written(folder, *lines)
    said: dict[str, Any] = {"port": 9000, "instances": frozenset({"mqtt-a"})}
    return list(MosquittoChecks(read_configuration(file), Asked(**said | asked), rules, host, file).findings())


def test_a_broker_that_is_well(tmp_path: Path, host: HostUnderTest) -> None:
    said = found(tmp_path, host, *LINES)
    assert {one.grade for one in said} == {Grade.OK}
    assert [one.check for one in said] == ["version", "plugin", "library", "options", "address", "instance"]


def with_lines(*more: str) -> tuple[str, ...]:
    return (*LINES, *more)


WRONG: dict[str, tuple[tuple[str, ...], str, int, str]] = {
    "no plugin at all": (LINES[:2], "plugin", 1, "plugin_opt_address 127.0.0.1:9000"),
    "nothing at all": (("user root",), "plugin", 0, "mosquitto_exhook.so"),
    "a listener without it": (
        (EACH, *LINES, "listener 1884 127.0.0.1", "allow_anonymous true"), "plugin", 6, "below `listener 1884 127.",
    ),
    "the plugin is another listener's": ((EACH, *LINES, "listener 1884 127.0.0.1"), "plugin", 6, "below `listener"),
    "another is asked first": ((*LINES[:2], OTHER, *LINES[2:]), "plugin", 3, "below exhook's plugin"),
    "the file is not there": (
        (*LINES[:2], "plugin {folder}/nonesuch_exhook.so", LINES[3]), "library", 3, "exhook mosquitto build-plugin -o",
    ),
    "an option that is none": (with_lines("plugin_opt_cache 5"), "options", 5, "take it out"),
    "an option of another kind": (
        with_lines("plugin_opt_cache_seconds 5m"), "options", 5, "plugin_opt_cache_seconds 60",
    ),
    "a deadline too short": (with_lines("plugin_opt_deadline_ms 1"), "options", 5, "plugin_opt_deadline_ms 300"),
    "a word that is none": (with_lines("plugin_opt_read_check yes"), "options", 5, "revoked"),
    "no address": ((*LINES[:3], "plugin_opt_address localhost"), "address", 4, "plugin_opt_address 127.0.0.1:9000"),
    "an instance that is not there": (with_lines("plugin_opt_instance mqtt-z"), "instance", 5, "mqtt-a"),
    "names from certificates": (with_lines(NAMES[0], TLS), "certificates", 5, "plugin_opt_auth certificate"),
    "a proof that nobody asks for": (with_lines(NAMES[1]), "certificates", 5, "use_identity_as_username true"),
    "names from certificates without TLS": (
        with_lines(*NAMES), "certificates", 6, "use_identity_as_username true",
    ),
    "one plugin for both kinds": (
        with_lines("listener 8883 127.0.0.1", NAMES[0], TLS), "certificates", 6, "per_listener_settings true, and",
    ),
    "one plugin for both kinds, the other way": (
        with_lines(NAMES[1], "listener 8883 127.0.0.1", NAMES[0], TLS), "certificates", 5, "plugin_opt_auth password",
    ),
    "too late": (with_lines(EACH), "per_listener_settings", 5, "put it first"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_in_force(tmp_path: Path, host: HostUnderTest, name: str) -> None:
    lines, check, number, mend = WRONG[name]
    said = found(tmp_path, host, *lines)
    wrong = [one for one in said if one.grade is Grade.WRONG]
    assert (wrong[0].check, len({one.check for one in wrong})) == (check, 1), wrong
    place = tmp_path / "mosquitto.conf"
    assert wrong[0].place == (f"{place}:{number}" if number else str(place))
    assert mend in wrong[0].mend
    assert not in_force(said)


ADVICE: dict[str, tuple[tuple[str, ...], str, int, str]] = {
    "a password file": (with_lines("password_file /etc/pw"), "password_file", 5, "exhook-sync import"),
    "an acl file": (with_lines("acl_file /etc/acl"), "acl_file", 5, "exhook-sync import"),
    "anonymous": ((LINES[0], "allow_anonymous true", *LINES[2:]), "allow_anonymous", 2, "allow_anonymous false"),
    "another plugin behind it": (with_lines(OTHER), "plugin", 5, "take it out"),
    "another server's address": (
        (*LINES[:3], "plugin_opt_address 127.0.0.1:9001"), "address", 4, "plugin_opt_address 127.0.0.1:9000",
    ),
    "another machine": ((*LINES[:3], "plugin_opt_address 192.0.2.7:9000"), "address", 4, "only brokers reach"),
    "open to all, in the clear": (("listener 1883", *LINES[1:]), "tls", 1, "certfile"),
    "no cache": (with_lines("plugin_opt_cache_size 0"), "cache", 5, "plugin_opt_cache_size 10000"),
    "a cache for no time": (with_lines("plugin_opt_cache_seconds 0"), "cache", 5, "plugin_opt_cache_seconds 60"),
    "a long deadline": (with_lines("plugin_opt_deadline_ms 5000"), "deadline", 5, "plugin_opt_deadline_ms 300"),
    "deliveries are not checked": (with_lines("plugin_opt_read_check off"), "read_check", 5, "revoked"),
    "sessions that outlive the broker": (
        with_lines("persistence true"), "persistence", 5, "plugin_opt_read_check durable",
    ),
    "a bridge": (with_lines("connection up", "address 192.0.2.7:1883", "topic # both"), "bridge", 5, "topic FILTER in"),
}  # fmt: skip


@pytest.mark.parametrize("name", ADVICE)
def test_what_would_be_better(tmp_path: Path, host: HostUnderTest, name: str) -> None:
    lines, check, number, mend = ADVICE[name]
    said = found(tmp_path, host, *lines)
    (advice,) = [one for one in said if one.grade is not Grade.OK]
    assert (advice.check, advice.grade, advice.place) == (check, Grade.ADVICE, f"{tmp_path}/mosquitto.conf:{number}")
    assert mend in advice.mend


def test_what_is_meant_so_is_no_finding(tmp_path: Path, host: HostUnderTest) -> None:
    lines = (
        "persistence true", EACH,
        "listener 8884 0.0.0.0", TLS, *NAMES[:1], *LINES[1:], NAMES[1], "plugin_opt_read_check durable",
        *LINES, "plugin_opt_instance mqtt-else", "plugin_opt_read_check on",
    )  # fmt: skip
    said = found(tmp_path, host, *lines, clusters=frozenset({"mqtt-else"}))
    assert {one.grade for one in said} == {Grade.OK}, [one for one in said if one.grade is not Grade.OK]


def test_versions(tmp_path: Path, host: HostUnderTest) -> None:
    def of(broker: str, *lines: str) -> list[tuple[str, Grade]]:
        host.broker = broker
        return [(one.check, one.grade) for one in found(tmp_path, host, *lines, *LINES) if one.grade is not Grade.OK]

    assert of("1.6.9") == of("2.0.5") == [("version", Grade.WRONG)]
    assert of("2.0.11") == of("2.1.2", EACH) == []
    assert of("2.0.22", EACH) == [("per_listener_settings", Grade.ADVICE)]
    assert of("") == [("version", Grade.ADVICE)]
    host.built = "0.0.9"
    assert of("2.1.2") == [("library", Grade.ADVICE)]


def test_without_tls_no_certificate_names_anybody(tmp_path: Path, host: HostUnderTest) -> None:
    assert {one.grade for one in found(tmp_path, host, *LINES, NAMES[0])} == {Grade.OK}


def test_what_the_machine_says(tmp_path: Path, host: HostUnderTest) -> None:
    host.why = "Connection refused"
    (wrong,) = [one for one in found(tmp_path, host, *LINES) if one.grade is Grade.WRONG]
    assert (wrong.check, "(Connection refused)" in wrong.said) == ("address", True)
    host.why, host.closed = "", True
    (wrong,) = [one for one in found(tmp_path, host, "user alice", *LINES) if one.grade is Grade.WRONG]
    assert (wrong.check, wrong.mend) == ("library", f"chmod o+rX {tmp_path}")
    assert "'alice'" in wrong.said


@pytest.mark.parametrize("instances", [frozenset(), frozenset({"mqtt-a", "mqtt-b"})], ids=["none", "two"])
def test_nothing_says_which_instance(tmp_path: Path, host: HostUnderTest, instances: frozenset[str]) -> None:
    (wrong,) = [one for one in found(tmp_path, host, *LINES, instances=instances) if one.grade is not Grade.OK]
    assert wrong.check == "instance"
    assert in_force(found(tmp_path, host, *LINES, instances=instances | {"mqtt-b"}, default_instance="mqtt-b"))


@pytest.mark.parametrize("external", [False, True])
def test_a_rule_that_never_fits(tmp_path: Path, host: HostUnderTest, *, external: bool) -> None:
    rule = ListenerRule(name="field", port=1883, instance="mqtt-a", external=external)
    (wrong,) = [one for one in found(tmp_path, host, *LINES, rules=Rules((rule,))) if one.grade is not Grade.OK]
    assert (wrong.check, wrong.grade) == ("listener", Grade.WRONG)
    assert ("plugin_opt_auth certificate" if external else "plugin_opt_instance NAME") in wrong.mend
    assert in_force(found(tmp_path, host, *LINES, rules=Rules((rule,), has_emqx=True)))


class TestFiles:
    """How the broker reads its configuration; each was tried on 2.0.11."""

    def test_included_files_begin_outside_of_every_listener(self, tmp_path: Path) -> None:
        (tmp_path / "conf.d").mkdir()
        (tmp_path / "conf.d" / "b.conf").write_text("allow_anonymous true\n")
        (tmp_path / "conf.d" / "a.conf").write_text("# nothing\nlistener 1884\nacl_file /x\n")
        (tmp_path / "conf.d" / "c.txt").write_text("listener 1\n")
        read = read_configuration(written(tmp_path, EACH, "listener 1883", "include_dir {folder}/conf.d"))
        assert [one.port for one in read.listeners] == [1883, 1884]
        assert [part.find("allow_anonymous") is not None for part in (read.outside, *read.listeners)] == [
            True, False, False,
        ]  # fmt: skip
        acl = read.listeners[1].find("acl_file")
        assert acl is not None
        assert acl.place == f"{tmp_path}/conf.d/a.conf:3"

    def test_the_default_listener(self, tmp_path: Path) -> None:
        bare = read_configuration(written(tmp_path, "persistence false"))
        assert (bare.local_only, [one.port for one in bare.listeners]) == (True, [1883])
        old = read_configuration(written(tmp_path, "port 1999", "bind_address 192.0.2.7", "listener 1884 ::1"))
        assert [(one.port, one.address) for one in old.listeners] == [(1999, "192.0.2.7"), (1884, "::1")]
        assert not old.local_only
        unix = read_configuration(written(tmp_path, "listener 0 /run/mosquitto.sock"))
        assert [(one.port, one.address) for one in unix.listeners] == [(0, "/run/mosquitto.sock")]

    def test_without_listeners_of_their_own_settings_are_everybodys(self, tmp_path: Path) -> None:
        read = read_configuration(written(tmp_path, *LINES, "listener 1884"))
        assert [len(read.plugins_of(one)) for one in read.listeners] == [1, 1]
        plugin = read.plugins_of(read.listeners[0])[0]
        assert [(one.key, one.value) for one in plugin.options] == [("address", "127.0.0.1:9000")]

    def test_plugins_of_2_1(self, tmp_path: Path) -> None:
        """For all listeners by `global_plugin`, by name with `plugin_load`."""
        for line in (f"global_plugin {PLUGIN}", f"plugin_load exhook {PLUGIN}"):
            read = read_configuration(written(tmp_path, EACH, line, "plugin_opt_node n", "listener 1883"))
            (plugin,) = read.plugins_of(read.listeners[0])
            assert plugin.path == f"{tmp_path}/mosquitto_exhook.so"
            assert plugin.option("node") is not None

    @pytest.mark.parametrize("line", ["include_dir {folder}/nonesuch", None])
    def test_what_cannot_be_read(self, tmp_path: Path, line: str | None) -> None:
        file = written(tmp_path, line) if line else tmp_path / "nonesuch.conf"
        with pytest.raises(CannotRead, match=r"nonesuch.* cannot be read"):
            read_configuration(file)


class TestHost:
    """The machine itself."""

    def test_a_server_that_is_there_and_one_that_is_not(self, tmp_path: Path) -> None:
        with socket.create_server((HOST, 0)) as one, socket.socket(socket.AF_UNIX) as other:
            port = one.getsockname()[1]
            other.bind(str(tmp_path / "socket"))
            other.listen()
            assert Host().cannot_reach((HOST, port)) == ""
            assert Host().cannot_reach(str(tmp_path / "socket")) == ""
        assert Host().cannot_reach((HOST, port))
        assert Host().cannot_reach(str(tmp_path / "nonesuch"))

    @pytest.mark.skipif(os.geteuid() != 0, reason="files of other users are made by root alone")
    def test_who_may_read(self, tmp_path: Path) -> None:
        open_folder = Path("/tmp") / tmp_path.name  # noqa: S108 - one that all users may enter
        open_folder.mkdir()
        try:
            file = open_folder / "plugin.so"
            file.touch()
            open_folder.chmod(0o755)
            file.chmod(0o644)
            assert Host().unreadable_for("nobody", file) is None
            assert Host().unreadable_for("no such user", file) is None
            file.chmod(0o640)
            assert Host().unreadable_for("nobody", file) == file
            open_folder.chmod(0o700)
            assert Host().unreadable_for("nobody", file) == open_folder
            assert Host().unreadable_for("root", file) is None
        finally:
            (open_folder / "plugin.so").unlink()
            open_folder.rmdir()

    @needs_mosquitto
    def test_the_installed_broker_says_which_it_is(self) -> None:
        assert Host().version().startswith("2.")

    @needs_mosquitto
    def test_which_plugin_a_file_is(self, mosquitto_plugin: Path, tmp_path: Path) -> None:
        assert plugin_version(mosquitto_plugin) == version("exhook")
        data = mosquitto_plugin.read_bytes()
        for number, cut in enumerate((b"", b"\x7fELF", data[:64], data[:5000], b"no library", data[: len(data) // 2])):
            file = tmp_path / f"{number}.so"
            file.write_bytes(cut)
            assert plugin_version(file) is None


@pytest.fixture
def exhook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exhook:
    return Exhook(capsys, monkeypatch, tmp_path)


@pytest.fixture
def server(store: Store, tmp_path: Path) -> Iterator[Server]:
    store.put(
        identity("probe", b"canary-probe"), permission("probe", "probe/#"), permission("probe", "$SYS/broker/version")
    )
    with Server(tmp_path) as started:
        yield started


@needs_mosquitto
def test_a_real_broker_is_looked_at_and_probed(
    server: Server, exhook: Exhook, tmp_path: Path, mosquitto_plugin: Path
) -> None:
    """A real server, a real Mosquitto, its own configuration file, a real client."""
    lines = listener(mosquitto_plugin, f"{HOST}:{server.port}", "plugin_opt_deadline_ms 1000")
    with Broker(tmp_path, lines) as broker:
        file = broker.file

        def run(*more: str) -> tuple[int, str]:
            done = exhook(
                "doctor", "--db", str(server.db), "--port", str(server.port), "--mosquitto", str(file), "--json",
                "--probe-username", "probe", "--allowed", "probe/x", "--denied", "other/#", "--password-stdin", *more,
                stdin=b"canary-probe\n",
            )  # fmt: skip
            assert "canary" not in done.out + done.err
            return done.code, done.out

        code, said = run()
        assert code == 0, said
        for expected in (
            f"{INSTANCE} decides", "asks exhook's plugin first", "the broker says: mosquitto version 2.",
            "the probe was let in", "probe/x was granted", "other/# was refused", "this server refused it",
        ):  # fmt: skip
            assert expected in said
        # The same broker by a file that forgot the plugin: what the file says, and what is so, are told apart.
        file.write_text(f"listener {broker.port} {HOST}\nallow_anonymous true\n", encoding="utf-8")
        code, said = run()
        assert code == 1
        assert "everybody is let in" in said
        assert f'"place": "{file}:1"' in said


@needs_mosquitto
def test_a_broker_that_never_asks(server: Server, exhook: Exhook, tmp_path: Path) -> None:
    with Broker(tmp_path, f"listener {{port}} {HOST}\nallow_anonymous true\n") as broker:
        done = exhook(
            "doctor", "--db", str(server.db), "--mosquitto", str(broker.file), "--probe-username", "probe",
            EXHOOK_PROBE_PASSWORD="canary-probe",
        )  # fmt: skip
    assert (done.code, done.out.splitlines()[-1]) == (1, "NOT in force")
    assert f" !  mosquitto  plugin: {broker.file}:4: listener {broker.port} {HOST}: nobody asks this server" in done.out
    assert "it was let in: nobody asks this server" in done.out


def test_a_file_that_is_not_there(store: Store, exhook: Exhook) -> None:
    done = exhook("doctor", "--db", str(store.path), "--mosquitto", "nonesuch.conf")
    assert done.code == 1
    assert "nonesuch.conf: cannot be read (No such file or directory)" in done.out

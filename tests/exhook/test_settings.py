"""Settings: which source wins, what is refused and with which sentence, what SIGHUP may change."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from exhook import cli
from exhook.brokers.emqx_cluster import EmqxCluster
from exhook.listeners import ListenerRule
from exhook.settings import (
    FILE_ALONE,
    RESTART_ONLY,
    InvalidSettings,
    Settings,
    is_loopback,
    load_settings,
    split_address,
)
from exhook.settings_reference import WITHOUT_FLAG, markdown


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "exhook.toml"


def mistakes(
    flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None, file: Path | None = None
) -> list[str]:
    """The sentences with which settings are refused."""
    with pytest.raises(InvalidSettings) as refused:
        load_settings(flags or {}, environ or {}, file)
    return str(refused.value).splitlines()


SOURCES = ("flag", "environment", "file")


@dataclass(frozen=True)
class Said:
    """One setting, said differently by each source."""

    name: str
    flag: Any
    variable: str
    in_file: str
    values: tuple[Any, ...]
    """What holds, by the first source that says something: flag, environment, file, default."""


SAID = (
    Said("instance", "f", "e", '"t"', ("f", "e", "t", "")),
    Said("workers", 4, "3", "2", (4, 3, 2, 1)),
    Said("db", Path("f.db"), "e.db", '"t.db"', (Path("f.db"), Path("e.db"), Path("t.db"), Path("exhook.db"))),
    Said("decisions", "all", "none", '"deny"', ("all", "none", "deny", "deny")),
    Said("allow_env", True, "true", "true", (True, True, True, False)),
    Said("with_broker", 0, "1884", "1885", (0, 1884, 1885, None)),
    Said("verified_seconds", 0.0, "2.5", "3", (0.0, 2.5, 3.0, 60.0)),
)


class TestPrecedence:
    @pytest.mark.parametrize("given", [SOURCES[start:] for start in range(4)], ids=" ".join)
    @pytest.mark.parametrize("said", SAID, ids=lambda said: said.name)
    def test_flag_over_variable_over_file_over_default(self, file: Path, given: tuple[str, ...], said: Said) -> None:
        file.write_text(f"{said.name} = {said.in_file}\n" if "file" in given else "")
        flags = {said.name: said.flag if "flag" in given else None}
        environ = {f"EXHOOK_{said.name.upper()}": said.variable} if "environment" in given else {}
        assert getattr(load_settings(flags, environ, file), said.name) == said.values[3 - len(given)]

    def test_a_flag_may_take_back_what_the_others_say(self, file: Path) -> None:
        file.write_text("insecure = true\nallow_env = true\n")
        found = load_settings({"insecure": False, "allow_env": None}, {"EXHOOK_ALLOW_ENV": "false"}, file)
        assert (found.insecure, found.allow_env) == (False, False)

    def test_without_anything_the_defaults_hold(self) -> None:
        assert load_settings({}, {}) == Settings()

    def test_the_variable_names_the_file_and_the_flag_another(self, file: Path, tmp_path: Path) -> None:
        file.write_text('instance = "one"\n')
        other = tmp_path / "other.toml"
        other.write_text('instance = "two"\n')
        assert load_settings({}, {"EXHOOK_CONFIG": str(file)}).instance == "one"
        assert load_settings({}, {"EXHOOK_CONFIG": str(file)}, other).instance == "two"
        assert load_settings({}, {"EXHOOK_CONFIG": ""}).instance == ""

    def test_listeners_come_from_the_file(self, file: Path) -> None:
        file.write_text('[[listeners]]\nname = "tls"\nport = 8883\n[[listeners]]\nname = "ws"\nexternal = true\n')
        found = load_settings({}, {"EXHOOK_LISTENERS": "ignored"}, file)
        assert found.listeners == (ListenerRule(name="tls", port=8883), ListenerRule(name="ws", external=True))

    def test_secrets_and_seal_keys_are_no_settings(self) -> None:
        environ = {
            "EXHOOK_SECRET_DB": "canary",
            "EXHOOK_SECRET_WORKERS": "canary",
            "EXHOOK_SECRET_S_DIR": "canary",
            "EXHOOK_SEAL_KEY": "canary",
            "EXHOOK_SOMETHING_NEW": "canary",
            "exhook_workers": "7",
        }
        assert load_settings({}, environ) == Settings()
        assert load_settings({}, environ | {"EXHOOK_SEAL_KEY_FILE": "k", "EXHOOK_SECRETS_DIR": "s"}) == Settings(
            seal_key_file=Path("k"), secrets_dir=Path("s")
        )

    def test_they_are_frozen(self) -> None:
        with pytest.raises(ValidationError):
            Settings().workers = 2


class TestMistakes:
    @pytest.mark.parametrize(
        ("name", "value", "says"),
        [
            ("workers", "0", "greater than or equal to 1"),
            ("workers", "257", "less than or equal to 256"),
            ("workers", "two", "valid integer"),
            ("carrier", "h3", "is none of them; choose 'h2' or 'grpc'"),
            ("log_level", "loud", "'debug', 'info', 'warning' or 'error'"),
            ("decisions", "some", "'all', 'deny' or 'none'"),
            ("listen", "9000", "no ADDRESS:PORT; write 127.0.0.1:9000, say"),
            ("listen", ":9000", "no ADDRESS:PORT"),
            ("listen", "127.0.0.1:", "no ADDRESS:PORT"),
            ("listen", "127.0.0.1:65536", "no ADDRESS:PORT"),
            ("listen", "127.0.0.1:-1", "no ADDRESS:PORT"),
            ("listen", "0.0.0.0:9000", "say --insecure"),
            ("metrics", "nowhere", "no ADDRESS:PORT"),
            ("with_broker", "65536", "less than or equal to 65535"),
            ("insecure", "maybe", "valid boolean"),
            ("poll_ms", "0", "greater than or equal to 1"),
            ("half_open_seconds", "0", "greater than 0"),
            ("max_message_bytes", "1000", "greater than or equal to 262144"),
            ("verified_seconds", "-1", "greater than or equal to 0"),
        ],
    )
    def test_each_names_its_place_and_the_value(self, file: Path, name: str, value: str, says: str) -> None:
        file.write_text(f'{name} = "{value}"\n')
        flag = f"--{name.replace('_', '-')}"
        for place, found in (
            (f"{flag}: ", mistakes({name: value})),
            (f"EXHOOK_{name.upper()}: ", mistakes(environ={f"EXHOOK_{name.upper()}": value})),
            (f"{file}: {name}: ", mistakes(file=file)),
        ):
            (sentence,) = found
            assert sentence.startswith(place), sentence
            assert repr(value) in sentence
            assert says in sentence

    def test_all_are_told_at_once_each_on_its_line(self, file: Path) -> None:
        file.write_text(
            'workers = 0\nlog_format = "xml"\ncolour = "red"\n'
            '[[listeners]]\nport = "tls"\n[[listeners]]\nname = "default"\nmount = "x"\n'
        )
        found = mistakes({"listen": "[::]:1", "metrics": "x"}, {"EXHOOK_LOG_FORMAT": "html"}, file)
        heads = sorted(re.match(r"(.*?toml: \S+|\S+):", sentence)[1] for sentence in found)  # type: ignore[index]
        in_file = ("colour", "listeners.0.name", "listeners.0.port", "listeners.1.mount", "listeners.1.name", "workers")
        assert heads == sorted(["--listen", "--metrics", "EXHOOK_LOG_FORMAT", *(f"{file}: {key}" for key in in_file)])

    def test_what_wins_is_what_is_judged(self, file: Path) -> None:
        file.write_text("workers = 0\n")
        assert load_settings({"workers": 2}, {"EXHOOK_WORKERS": "x"}, file).workers == 2

    @pytest.mark.parametrize("address", ["0.0.0.0:9000", "192.168.1.7:9000", "[::]:9000", "example.net:9000", "*:9000"])
    def test_other_machines_are_let_in_only_where_it_is_said(self, address: str) -> None:
        (sentence,) = mistakes({"listen": address})
        assert "is reached from other machines" in sentence
        assert load_settings({"listen": address, "insecure": True}, {}).listen == address
        assert load_settings({"listen": address}, {"EXHOOK_INSECURE": "true"}).listen == address

    @pytest.mark.parametrize("address", ["0.0.0.0:9464", "192.168.1.7:9464", "[::]:9464", "example.net:9464"])
    @pytest.mark.parametrize("listener", ["api", "metrics"])
    def test_nobody_else_reads_or_calls_in_the_clear_but_where_it_is_said(self, listener: str, address: str) -> None:
        (sentence,) = mistakes({listener: address})
        assert f"--{listener}: '{address}' is reached from other machines, unencrypted" in sentence
        pair = {f"{listener}_tls_cert": "c", f"{listener}_tls_key": "k"}
        for leave in (pair, {"insecure": True}):
            assert getattr(load_settings({listener: address, **leave}, {}), listener) == address

    @pytest.mark.parametrize("listener", ["api", "metrics"])
    @pytest.mark.parametrize(
        ("given", "missing"), [("tls_cert", "tls_key"), ("tls_key", "tls_cert"), ("tls_client_ca", "tls_cert")]
    )
    def test_half_of_tls_is_none(self, listener: str, given: str, missing: str) -> None:
        (sentence,) = mistakes({listener: "127.0.0.1:1", f"{listener}_{given}": "x"})
        assert sentence == (
            f"--{listener}: '127.0.0.1:1' cannot have {listener}_{given} without {listener}_{missing}; "
            "set both or neither"
        )

    @pytest.mark.parametrize(
        ("said", "sentence"),
        [
            ({"tls_cert": "c"}, "listen: '127.0.0.1:9000' cannot have tls_cert without tls_key; set both or neither"),
            ({"tls_key": "k"}, "listen: '127.0.0.1:9000' cannot have tls_key without tls_cert; set both or neither"),
            (
                {"tls_client_ca": "a"},
                "listen: '127.0.0.1:9000' cannot have tls_client_ca without tls_cert; set both or neither",
            ),
            (
                {"tls_cert": "c", "tls_key": "k", "carrier": "grpc"},
                "--carrier: 'grpc' knows no tls_cert; choose --carrier h2",
            ),
            ({"unix_socket": "s", "carrier": "grpc"}, "--carrier: 'grpc' knows no unix_socket; choose --carrier h2"),
            (
                {"tls_cert": "c", "tls_key": "k", "with_broker": 1},
                "--with-broker: 1 calls without TLS; leave out tls_cert, or attach a broker that has it",
            ),
        ],
    )
    def test_what_does_not_go_together(self, said: dict[str, Any], sentence: str) -> None:
        environ = {f"EXHOOK_{name.upper()}": value for name, value in said.items() if name.startswith("tls")}
        flags = {name: value for name, value in said.items() if not name.startswith("tls")}
        assert mistakes(flags, environ)[0] == sentence

    def test_other_machines_are_let_in_where_each_proves_who_it_is(self) -> None:
        environ = {"EXHOOK_TLS_CERT": "c", "EXHOOK_TLS_KEY": "k"}
        flags = {"listen": "0.0.0.0:9000"}
        (sentence,) = mistakes(flags, environ)
        assert "by anyone" in sentence
        assert load_settings(flags, environ | {"EXHOOK_TLS_CLIENT_CA": "a"}).tls_client_ca == Path("a")

    @pytest.mark.parametrize("address", ["127.0.0.1:0", "127.8.9.1:9000", "[::1]:9000", "localhost:9000"])
    def test_loopback_needs_no_leave(self, address: str) -> None:
        assert load_settings({"listen": address}, {}).listen == address

    @pytest.mark.parametrize("key", ["colour", "Workers", "log-level", "EXHOOK_DB", "config", "password"])
    def test_an_unknown_key_in_the_file_is_refused_without_its_value(self, file: Path, key: str) -> None:
        file.write_text(f'{key} = "canary"\n')
        (sentence,) = mistakes(file=file)
        assert sentence == f"{file}: {key}: there is no such setting; `exhook settings` lists them"

    @pytest.mark.parametrize(
        ("rule", "says"),
        [
            ("port = 1", "listeners.0.name: is missing"),
            ('name = "default"', "listeners.0.name: 'default' is the name of the listener that fits all others"),
            ('name = "a"\ncolour = 1', "listeners.0.colour: there is no such setting"),
            ('name = "a"\nport = "tls"', "listeners.0.port: 'tls': Input should be a valid integer"),
            ('name = "a"\nexternal = 7', "listeners.0.external: 7: Input should be a valid boolean"),
        ],
    )
    def test_a_listener_that_cannot_be(self, file: Path, rule: str, says: str) -> None:
        file.write_text(f"[[listeners]]\n{rule}\n")
        (sentence,) = mistakes(file=file)
        assert sentence.startswith(f"{file}: {says}")

    @pytest.mark.parametrize(
        "text", ["workers", "workers = ", "workers = 1\nworkers = 2", "[listeners", "a = 'x", "a =\nb = 1"]
    )
    def test_no_toml_says_where(self, file: Path, text: str) -> None:
        file.write_text(text)
        (sentence,) = mistakes(file=file)
        assert sentence.startswith(f"{file}: no TOML: ")
        assert re.search(r"\(at (line \d+, column \d+|end of document)\)$", sentence)

    def test_no_utf8_and_no_file(self, file: Path, tmp_path: Path) -> None:
        (sentence,) = mistakes(file=file)
        assert sentence.startswith(f"{file}: cannot be read (No such file")
        assert "--config" in sentence
        (sentence,) = mistakes(file=tmp_path)
        assert sentence.startswith(f"{tmp_path}: cannot be read")
        file.write_bytes(b'db = "\xff"')
        (sentence,) = mistakes(file=file)
        assert sentence.startswith(f"{file}: no TOML: ")


class TestReload:
    def test_what_only_a_restart_changes_stays(self) -> None:
        running = Settings(db=Path("one.db"), workers=3, hash_queue=5, log_level="error", instance="old")
        wanted = Settings(db=Path("two.db"), workers=9, hash_queue=6, log_level="debug", instance="new", poll_ms=7)
        kept = wanted.kept_until_restart(running)
        assert (kept.db, kept.workers, kept.hash_queue) == (Path("one.db"), 3, 5)
        assert (kept.log_level, kept.instance, kept.poll_ms) == ("debug", "new", 7)

    def test_each_setting_either_stays_or_is_taken_on(self) -> None:
        running = Settings()
        other: dict[str, Any] = {
            "db": Path("x"), "listen": "0.0.0.0:1", "insecure": True, "policy": Path("x"), "workers": 2,
            "with_broker": 1, "metrics": "127.0.0.1:1", "instance": "x", "listeners": (ListenerRule(name="x"),),
            "seal_key_file": Path("x"), "secrets_dir": Path("x"), "allow_env": True, "log_level": "debug",
            "log_format": "json", "decisions": "none", "decision_level": "debug", "poll_ms": 1, "hash_threads": 1,
            "hash_queue": 1, "verified_seconds": 1.0, "max_message_bytes": 2**19, "max_metadata_bytes": 2**13,
            "half_open_seconds": 1.0, "drain_seconds": 1.0, "carrier": "h2", "unix_socket": Path("x"),
            "decisions_sample": 0.5, "emqx": (EmqxCluster(name="x", url="http://127.0.0.1:1"),),
            "api": "127.0.0.1:1", "api_tls_cert": Path("x"), "api_tls_key": Path("x"), "api_rate": 1.0,
            "api_tls_client_ca": Path("x"), "api_tls_client_names": ("x",), "metrics_tls_cert": Path("x"),
            "metrics_tls_key": Path("x"), "metrics_tls_client_ca": Path("x"),
        }  # fmt: skip
        tls = {"tls_cert": Path("x"), "tls_key": Path("x"), "tls_client_ca": Path("x")}
        assert other.keys() | tls.keys() | {"tls_client_names"} == Settings.model_fields.keys()
        kept = Settings(carrier="h2", **tls).kept_until_restart(running)  # type: ignore[arg-type]
        assert all(getattr(kept, name) == getattr(running, name) for name in tls)
        kept = Settings(**other).kept_until_restart(running)
        for name in other:
            assert (getattr(kept, name) == getattr(running, name)) is (name in RESTART_ONLY), name

    def test_they_travel_to_a_worker_as_json(self) -> None:
        settings = Settings(
            listeners=(ListenerRule(name="x", port=1, emqx=False),),
            emqx=(EmqxCluster(name="x", url="http://127.0.0.1:1", api_key_file=Path("key")),),
            policy=Path("p"),
            with_broker=0,
        )
        assert Settings.model_validate_json(settings.model_dump_json()) == settings


class TestReference:
    def test_every_setting_is_in_it_with_its_names(self) -> None:
        page = markdown()
        for name in Settings.model_fields:
            row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
            assert (f"`--{name.replace('_', '-')}`" in row) is (name not in WITHOUT_FLAG)
            assert (f"`EXHOOK_{name.upper()}`" in row) is (name not in FILE_ALONE)
            assert row.count(" | ") == 5
            assert f" | {'no' if name in RESTART_ONLY else 'yes'} | " in row

    def test_lists_name_settings_that_are_there(self) -> None:
        names = Settings.model_fields.keys()
        assert set(RESTART_ONLY) <= names
        assert names >= WITHOUT_FLAG >= FILE_ALONE


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:9000", "127.0.0.1", 9000), ("[::1]:0", "::1", 0), ("name:65535", "name", 65535)],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert split_address(text) == (host, port)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.255.0.1", "::1", "localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "::", "10.0.0.1", "localhost.example.net", "128.0.0.1", "127.0.0.1.x"])
def test_no_loopback(host: str) -> None:
    assert not is_loopback(host)


class TestEmpty:
    """As a script gives it whose variable nobody has set."""

    def test_a_variable_is_not_set(self, tmp_path: Path) -> None:
        file = tmp_path / "exhook.toml"
        file.write_text('policy = "policy.yaml"\n')
        variables = {"EXHOOK_POLICY": "", "EXHOOK_DB": "", "EXHOOK_WORKERS": "", "EXHOOK_TLS_CERT": ""}
        settings = load_settings({}, variables, file)
        assert (settings.policy, settings.db) == (Path("policy.yaml"), Path("exhook.db"))
        assert (settings.workers, settings.tls_cert) == (1, None)

    def test_a_path_is_no_folder(self, tmp_path: Path) -> None:
        file = tmp_path / "exhook.toml"
        file.write_text('policy = ""\n')
        with pytest.raises(InvalidSettings, match="policy: '' would be the current folder; name a file"):
            load_settings({}, {}, file)

    @pytest.mark.parametrize("arguments", [["serve", "--policy", ""], ["serve", "--db", ""], ["api", "--db", ""]])
    def test_a_flag_is_refused(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.run(arguments) == 64
        assert "is empty, as where a script's variable is not set" in capsys.readouterr().err

"""One frozen `Settings`, from flags over `EXHOOK_*` variables over a TOML file over defaults."""

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from exhook.brokers.emqx_cluster import EmqxCluster, refuse_key
from exhook.credentials_directory import NoCredentials, in_credentials_directory
from exhook.listeners import ListenerRule

PREFIX: Final = "EXHOOK_"
RESTART_ONLY: Final = (
    "db", "listen", "insecure", "workers", "carrier", "with_broker", "metrics", "emqx", "seal_key_file",
    "unix_socket", "tls_cert", "tls_key", "tls_client_ca", "metrics_tls_cert", "metrics_tls_key",
    "metrics_tls_client_ca", "api", "api_tls_cert", "api_tls_key", "api_tls_client_ca", "max_message_bytes",
    "max_metadata_bytes", "half_open_seconds", "hash_threads", "hash_queue", "verified_seconds",
)  # fmt: skip
"""Settings that SIGHUP does not change."""

FILE_ALONE: Final = frozenset({"listeners", "emqx", "tls_client_names", "api_tls_client_names"})
"""Settings that no single word can say: tables of the settings file."""


MAY_HOLD_KEYS: Final = frozenset({
    "seal_key_file", "tls_key", "api_tls_key", "metrics_tls_key", "api_key_file", "api_key_env", "url", "emqx",
})  # fmt: skip
"""Settings into which somebody may write a key by mistake: no error shows what they hold."""


class InvalidSettings(ValueError):
    """A flag, variable or file says what no setting can be; the message names place, value and mend."""


class Settings(BaseModel):
    """Everything that can be set. The reference in the docs is made from here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    db: Path = Field(default=Path("exhook.db"), description="The store, an SQLite file; made where there is none.")
    # Before `listen`, whose check asks for these.
    tls_cert: Path | None = Field(
        default=None,
        description="Certificate of the port where brokers call, with its chain (PEM); `carrier` h2 alone.",
    )
    tls_key: Path | None = Field(default=None, description="Its private key (PEM).")
    tls_client_ca: Path | None = Field(
        default=None, description="Who signs certificates of brokers (PEM); those without one are not let in."
    )
    tls_client_names: tuple[str, ...] = Field(
        default=(),
        description="Names in certificates of brokers that are let in; left out: all that the CA signed. SIGHUP ends "
        "connections whose name was taken out.",
    )
    insecure: bool = Field(
        default=False,
        description="Let `listen`, `api` and `metrics` be other addresses than loopback without TLS. The first answers "
        "whether a password is right to anyone who reaches it, the second is sent passwords: keep them in a private "
        "network.",
    )
    listen: str = Field(
        default="127.0.0.1:9000",
        validate_default=True,
        description="Where brokers call, `ADDRESS:PORT`; port 0 takes any free one.",
    )
    unix_socket: Path | None = Field(
        default=None, description="A Unix-domain socket to listen at as well, without TLS; `carrier` h2 alone."
    )
    policy: Path | None = Field(
        default=None, description="A policy file or folder, applied at the start and again whenever it changes."
    )
    workers: int = Field(default=1, ge=1, le=256, description="Deciding processes that share the port.")
    carrier: Literal["h2", "grpc"] = Field(
        default="h2",
        validate_default=True,
        description="What carries the calls: `h2` is a server of our own, for speed; `grpc` is grpcio, the fallback.",
    )
    with_broker: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Start the embedded MQTT broker (for trying; MQTT 3.1.1) on this port of 127.0.0.1.",
    )
    # Before `metrics`, whose check asks for them.
    metrics_tls_cert: Path | None = Field(
        default=None, description="Certificate of the metrics port, with its chain (PEM)."
    )
    metrics_tls_key: Path | None = Field(default=None, description="Its private key (PEM).")
    metrics_tls_client_ca: Path | None = Field(
        default=None, description="Who signs certificates of those who may read metrics (PEM); left out: anybody may."
    )
    metrics: str | None = Field(
        default=None,
        description="Serve Prometheus metrics at `ADDRESS:PORT`; loopback alone, unless it has a certificate.",
    )
    # Before `api`, whose check asks for them.
    api_tls_cert: Path | None = Field(default=None, description="Certificate chain of the management API (PEM).")
    api_tls_key: Path | None = Field(default=None, description="Its private key (PEM).")
    api_tls_client_ca: Path | None = Field(
        default=None,
        description="Who signs certificates of the API's callers (PEM); those without one are not let in. Calls are "
        "signed all the same.",
    )
    api_tls_client_names: tuple[str, ...] = Field(
        default=(),
        description="Names in certificates of callers that are let in; left out: all that the CA signed. SIGHUP ends "
        "connections whose name was taken out.",
    )
    api: str | None = Field(
        default=None,
        description="Serve the management API at `ADDRESS:PORT`; loopback alone, unless it has a certificate.",
    )
    api_rate: float = Field(
        default=500.0, ge=0, description="How many API calls a second an access key may sign; 0: no limit."
    )
    instance: str = Field(
        default="",
        description="The instance that decides where no listener says otherwise; empty: the only one in the store.",
    )
    listeners: tuple[ListenerRule, ...] = Field(default=(), description="Listeners of brokers; settings file alone.")
    emqx: tuple[EmqxCluster, ...] = Field(
        default=(), description="Clusters whose live sessions lose what was taken away; settings file alone."
    )
    seal_key_file: Path | None = Field(default=None, description="File with the keys that seal secrets in the store.")
    secrets_dir: Path | None = Field(
        default=None, description="Folder of the secrets that `{file: …}` in a policy names."
    )
    allow_env: bool = Field(
        default=False, description="Let `{env: …}` in a policy name any variable, not only `EXHOOK_SECRET_…`."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="`console` for people, `json` for machines, `auto` by whether it is a terminal."
    )
    decisions: Literal["all", "deny", "none"] = Field(
        default="deny", description="Which decisions are logged, one line each."
    )
    decisions_sample: float = Field(
        default=1.0, ge=0, le=1, description='Share of the allows that `decisions = "all"` logs; denials are complete.'
    )
    decision_level: Literal["debug", "info", "warning"] = Field(default="info", description="Level of those lines.")
    poll_ms: int = Field(default=20, ge=1, le=10_000, description="How often a worker looks for commits, in ms.")
    hash_threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Threads of a worker that hash passwords; 0: the cores, shared among the workers.",
    )
    hash_queue: int = Field(
        default=256, ge=0, description="Verifications that may wait; one more is denied `overloaded`."
    )
    verified_seconds: float = Field(
        default=60.0, ge=0, description="How long a worker remembers that a password was right, in s; 0: not at all."
    )
    max_message_bytes: int = Field(default=1024 * 1024, ge=256 * 1024, description="Largest request, in bytes.")
    max_metadata_bytes: int = Field(default=16 * 1024, ge=4096, description="Largest set of request headers, in bytes.")
    half_open_seconds: float = Field(
        default=10.0, gt=0, description="How long a call may go without its message, in s; its own timeout, if shorter."
    )
    drain_seconds: float = Field(
        default=5.0, ge=0, description="How long calls under way may take after SIGTERM, in s."
    )

    @field_validator(
        "db", "policy", "unix_socket", "secrets_dir", "seal_key_file", "tls_cert", "tls_key", "tls_client_ca",
        "api_tls_cert", "api_tls_key", "api_tls_client_ca", "metrics_tls_cert", "metrics_tls_key",
        "metrics_tls_client_ca", mode="before",
    )  # fmt: skip
    @classmethod
    def _no_empty_path(cls, value: Any) -> Any:
        if value == "":
            raise ValueError("would be the current folder; name a file, or leave it out")
        return value

    @field_validator("listen", "metrics", "api")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None:
            split_address(value)
        return value

    @field_validator("seal_key_file", "tls_key", "api_tls_key", "metrics_tls_key")
    @classmethod
    def _no_key(cls, value: Path | None) -> Path | None:
        if value is not None:
            refuse_key(str(value))
        return value

    @field_validator("emqx")
    @classmethod
    def _told_apart(cls, value: tuple[EmqxCluster, ...]) -> tuple[EmqxCluster, ...]:
        if len({cluster.name for cluster in value}) < len(value):
            raise ValueError("names a cluster twice; give each its own name")
        return value

    @field_validator("listen")
    @classmethod
    def _closed_port(cls, value: str, others: ValidationInfo) -> str:
        proven = others.data.get("tls_cert") and others.data.get("tls_client_ca")
        if not proven and not others.data.get("insecure", True) and not is_loopback(split_address(value)[0]):
            raise ValueError(
                "is reached from other machines, unencrypted or by anyone; listen on 127.0.0.1, set tls_cert, tls_key "
                "and tls_client_ca, or say --insecure where the network is private"
            )
        return value

    @field_validator("carrier")
    @classmethod
    def _carrier_that_can(cls, value: str, others: ValidationInfo) -> str:
        wanted = [name for name in ("tls_cert", "unix_socket") if others.data.get(name)]
        if value != "h2" and wanted:
            raise ValueError(f"knows no {' and no '.join(wanted)}; choose --carrier h2")
        return value

    @field_validator("with_broker")
    @classmethod
    def _broker_that_can(cls, value: int | None, others: ValidationInfo) -> int | None:
        if value is not None and others.data.get("tls_cert"):
            raise ValueError("calls without TLS; leave out tls_cert, or attach a broker that has it")
        return value

    @field_validator("listen", "metrics", "api")
    @classmethod
    def _whole_tls(cls, value: str | None, others: ValidationInfo) -> str | None:
        prefix = "" if others.field_name == "listen" else f"{others.field_name}_"
        for name, needed in (
            ("tls_cert", "tls_key"),
            ("tls_key", "tls_cert"),
            ("tls_client_ca", "tls_cert"),
            ("tls_client_names", "tls_client_ca"),
        ):
            if others.data.get(prefix + name) and not others.data.get(prefix + needed):
                raise ValueError(f"cannot have {prefix}{name} without {prefix}{needed}; set both or neither")
        return value

    @field_validator("metrics", "api")
    @classmethod
    def _closed_or_encrypted(cls, value: str | None, others: ValidationInfo) -> str | None:
        certificate = f"{others.field_name}_tls_cert"
        if value is None or others.data.get(certificate) or others.data.get("insecure", True):
            return value
        if not is_loopback(split_address(value)[0]):
            raise ValueError(
                f"is reached from other machines, unencrypted; give it {certificate} and {others.field_name}_tls_key, "
                "listen on 127.0.0.1, or say --insecure where the network is private"
            )
        return value

    @property
    def private_files(self) -> tuple[Path, ...]:
        """Files with keys of the server's own."""
        named = (self.seal_key_file, self.tls_key, self.api_tls_key, self.metrics_tls_key)
        return tuple(file for file in (*named, *(cluster.api_key_file for cluster in self.emqx)) if file is not None)

    def kept_until_restart(self, running: "Settings") -> "Settings":
        """These settings, but for those that only a restart can change."""
        return self.model_copy(update={name: getattr(running, name) for name in RESTART_ONLY})


def load_settings(
    flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ, file: Path | None = None
) -> Settings:
    """The settings in force; a flag that is None was not given.

    Raises:
        InvalidSettings: with one sentence for each mistake.
    """
    file = file or (Path(environ["EXHOOK_CONFIG"]) if environ.get("EXHOOK_CONFIG") else None)
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for place, found in (
        (str(file), _from_file(file) if file else {}),
        ("environment", _from_environment(environ)),
        ("flag", {name: value for name, value in flags.items() if value is not None}),
    ):
        values |= found
        places |= dict.fromkeys(found, place)
    try:
        values = {name: in_credentials_directory(value, environ) for name, value in values.items()}
        return Settings.model_validate(values)
    except NoCredentials as error:
        raise InvalidSettings(str(error)) from None
    except ValidationError as error:
        raise InvalidSettings(
            "\n".join(_sentence(detail, places) for detail in error.errors(include_url=False))
        ) from None


def split_address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``; an IPv6 address stands in brackets.

    Raises:
        ValueError: it does not read so.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - the last port
        raise ValueError("is no ADDRESS:PORT; write 127.0.0.1:9000, say")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _from_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSettings(
            f"{file}: cannot be read ({error.strerror}); name the settings file by --config"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{file}: no TOML: {error}") from None


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Variables that name a setting; others with the prefix (secrets, seal keys) are not ours to judge.

    One that is empty is one that is not set: an empty path would be the current folder.
    """
    simple = (name for name in Settings.model_fields if name not in FILE_ALONE)
    return {name: value for name in simple if (value := environ.get(PREFIX + name.upper()))}


def _sentence(detail: Any, places: Mapping[str, str]) -> str:
    path = [str(part) for part in detail["loc"]]
    name = path[0]
    place = {"environment": PREFIX + name.upper(), "flag": "--" + name.replace("_", "-"), "": name}.get(
        places.get(name, ""), f"{places.get(name)}: {'.'.join(path)}"
    )
    if detail["type"] == "extra_forbidden":
        return f"{place}: there is no such setting; `exhook settings` lists them"
    if detail["type"] == "missing":
        return f"{place}: is missing"
    quotable = isinstance(detail["input"], str | int | float | Path) and path[-1] not in MAY_HOLD_KEYS
    shown = repr(detail["input"]) if quotable else "it"
    if detail["type"] == "value_error":
        return f"{place}: {shown} {str(detail['msg']).removeprefix('Value error, ')}"
    if detail["type"] == "literal_error":
        return f"{place}: {shown} is none of them; choose {detail['ctx']['expected']}"
    return f"{place}: {shown}: {detail['msg']}"

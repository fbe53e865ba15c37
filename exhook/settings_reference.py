"""The reference of the settings, as a page of the documentation, made from `Settings` itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from exhook.brokers.emqx_cluster import API_KEY_VARIABLE, EmqxCluster
from exhook.listeners import ListenerRule
from exhook.settings import FILE_ALONE, PREFIX, RESTART_ONLY, Settings

WITHOUT_FLAG: Final = frozenset({
    *FILE_ALONE, "api_rate", "decision_level", "poll_ms", "hash_threads", "hash_queue", "verified_seconds",
    "max_message_bytes", "max_metadata_bytes", "half_open_seconds", "drain_seconds", "tls_cert", "tls_key",
    "tls_client_ca", "metrics_tls_cert", "metrics_tls_key", "metrics_tls_client_ca", "api_tls_client_ca",
})  # fmt: skip
"""Settings that seldom change: no flag of `exhook serve`, only variable and file."""

_HEAD: Final = """\
# Settings

Made from the code by `exhook settings --markdown`; edits here are overwritten, and a test compares the two.

A flag of `exhook serve` wins over a variable, a variable over the settings file, the file over the default. The
settings file is TOML, its keys are the names below; `--config FILE` or the variable `EXHOOK_CONFIG` names it.
`exhook settings` prints the values in force. A name that is no setting is refused in the file; a variable that
begins with `EXHOOK_` and names no setting is left alone, since secrets and seal keys have such names, too. One that is
empty counts as not set.

Variables take the same words as the file, without quotes; the flags `--insecure` and `--allow-env` stand alone. The
column SIGHUP says whether a running server takes on another value when it gets that signal; the rest needs a restart.
A path may begin with `$CREDENTIALS_DIRECTORY/`: the folder in which systemd puts what a unit names by `LoadCredential=`
([As a service](operating.md#as-a-service)).

"""

_LISTENERS: Final = """
## Listeners

Mosquitto's plugin [names its instance itself](mosquitto.md#instances-and-listeners), and needs a table only to go
elsewhere.

Where one server decides for several listeners of a broker, or for several clusters, each is described by a table
`[[listeners]]` in the settings file. Every criterion that a table gives (`port`, `mountpoint`, `cluster`) must fit;
the first table that fits wins. What none fits comes in by the listener named `default`, and the setting `instance`
decides it.

```toml
instance = "mqtt-prod"

[[listeners]]
name = "field"
port = 8883
instance = "mqtt-field"

[[listeners]]
name = "certificates"
port = 8884
external = true
```

"""

_CLUSTERS: Final = """
## Clusters

A table `[[emqx]]` names a cluster of EMQX nodes (5.x, 6.x) and its management API. Whoever loses something is then
taken off its live sessions there; see [Operations](operations.md#revocation). The API key is made in EMQX's dashboard
(System, API Key) or by its `api_key.bootstrap_file`, and must be allowed to write.

```toml
[[emqx]]
name = "plant"
url = "https://emqx.example:18084"
api_key_file = "/etc/exhook/emqx.key"
ca_file = "/etc/exhook/emqx-ca.pem"
```

"""

_TAIL: Final = f"""
## Variables that are no settings

| variable | what it holds |
|---|---|
| `EXHOOK_CONFIG` | the path of the settings file |
| `EXHOOK_SEAL_KEY` | a seal key itself, where no file is named |
| `{API_KEY_VARIABLE}` | an EMQX API key, `KEY:SECRET`, where no file is named |
| `EXHOOK_PROBE_PASSWORD` | the password of the probe of `exhook doctor` |
| `EXHOOK_SECRET_…` | secrets that `{{env: …}}` in a policy names |
| `NO_COLOR` | set to anything: no colours in output and logs |
"""


def markdown() -> str:
    """The page ``docs/settings.md``."""
    return "".join(
        [
            _HEAD,
            "| setting | flag | variable | default | SIGHUP | meaning |\n|---|---|---|---|---|---|\n",
            *map(_row, Settings.model_fields.items()),
            _LISTENERS,
            "| key | default | meaning |\n|---|---|---|\n",
            *_rows_of(ListenerRule),
            _CLUSTERS,
            "| key | default | meaning |\n|---|---|---|\n",
            *_rows_of(EmqxCluster),
            _TAIL,
        ]
    )


def _row(field: tuple[str, FieldInfo]) -> str:
    name, info = field
    flag = "" if name in WITHOUT_FLAG else f"`--{name.replace('_', '-')}`"
    variable = "" if name in FILE_ALONE else f"`{PREFIX}{name.upper()}`"
    taken_on = "no" if name in RESTART_ONLY else "yes"
    return f"| `{name}` | {flag} | {variable} | {_default(info)} | {taken_on} | {_cell(info)} |\n"


def _rows_of(table: type[BaseModel]) -> Iterator[str]:
    for name, info in table.model_fields.items():
        yield f"| `{name}` | {'(required)' if info.is_required() else _default(info)} | {_cell(info)} |\n"


def _default(info: FieldInfo) -> str:
    """A default as the settings file has it; nothing where there is none."""
    value = info.default
    if value is None or value in {"", ()}:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str | Path) else f"`{value}`"


def _cell(info: FieldInfo) -> str:
    return (info.description or "").replace("|", r"\|")

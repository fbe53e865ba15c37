"""One `[[emqx]]` table of the settings file: a cluster whose management API the server may call."""

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_KEY: Final = re.compile(r"\s|-----|^[A-Za-z0-9+/]{43}=$|^[^/:]{4,}:[^/:]{8,}$")
"""PEM, a seal key, an API key; not what files are called."""
API_KEY_VARIABLE: Final = "EXHOOK_EMQX_API_KEY"


class NoApiKey(ValueError):
    """There is no key to call a cluster's API with; the message says where one was looked for."""


class ApiKey(NamedTuple):
    """What EMQX calls an API key and its secret key. Never shown."""

    key: str
    secret: str

    def __repr__(self) -> str:
        return "ApiKey(…)"


class EmqxCluster(BaseModel):
    """A cluster of EMQX nodes (5.x, 6.x) and the way to its management API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64, description="Its name in logs, metrics and `exhook revocations`.")
    url: str = Field(description="Where its API answers, without `/api/v5`: `https://emqx.example:18084`.")
    api_key_file: Path | None = Field(
        default=None, description="File with one line, `KEY:SECRET`, of an API key that may write."
    )
    api_key_env: str = Field(
        default=API_KEY_VARIABLE, description="Variable that holds `KEY:SECRET`, where no file is named."
    )
    ca_file: Path | None = Field(
        default=None, description="Certificates to trust instead of the system's, for an `https` address."
    )
    insecure: bool = Field(
        default=False, description="Let an `http` address be another machine's: the API key travels in the clear."
    )
    cluster: str = Field(
        default="",
        description="The cluster's name as its nodes tell it (for listeners that ask for it); empty: it is asked.",
    )
    on_narrowed: Literal["unsubscribe", "disconnect"] = Field(
        default="unsubscribe",
        description="What befalls a client that may stay, but holds subscriptions that are no longer allowed.",
    )
    calls_per_second: float = Field(default=100.0, gt=0, description="Most API calls in a second.")
    disconnects_per_second: float = Field(
        default=200.0, gt=0, description="Most clients disconnected in a second; they come back, and must be let in."
    )
    timeout_seconds: float = Field(default=5.0, gt=0, description="How long one API call may take, in s.")

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("is no address of an API; write http://127.0.0.1:18083, say")
        if not _has_good_port(parts):
            raise ValueError("names no port from 1 to 65535; write http://127.0.0.1:18083, say")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("holds more than an address; the API key belongs into api_key_file")
        return value.rstrip("/").removesuffix("/api/v5")

    @field_validator("api_key_file")
    @classmethod
    def _no_key(cls, value: Path | None) -> Path | None:
        if value is not None:
            refuse_key(str(value))
        return value

    @field_validator("api_key_env")
    @classmethod
    def _variable(cls, value: str) -> str:
        if not value.isidentifier():
            raise ValueError("is no name of a variable; the key itself belongs into the variable, or a file")
        return value

    @model_validator(mode="after")
    def _sealed(self) -> "EmqxCluster":
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not self.insecure and not _loopback(parts.hostname or ""):
            raise ValueError("would send the API key in the clear; use https, or say insecure = true")
        return self

    def api_key(self, environ: Mapping[str, str] = os.environ) -> ApiKey:
        """The key, read anew: it may have been rotated.

        Raises:
            NoApiKey: file or variable is missing, or holds something else.
        """
        if self.api_key_file is not None:
            place = str(self.api_key_file)
            try:
                text = self.api_key_file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "not UTF-8"
                raise NoApiKey(f"{place}: the API key of EMQX {self.name!r} cannot be read ({why})") from None
        else:
            place = self.api_key_env
            text = environ.get(place, "")
            if not text:
                raise NoApiKey(
                    f"EMQX {self.name!r} has no API key: name its file by api_key_file, or set the variable {place}"
                )
        key, colon, secret = text.strip().partition(":")
        if not colon or not key or not secret or len(text.strip().splitlines()) != 1:
            raise NoApiKey(f"{place}: the API key of EMQX {self.name!r} does not read KEY:SECRET in one line")
        return ApiKey(key, secret)


def refuse_key(path: str) -> None:
    """See that the name of a key's file is not the key: it would be shown wherever the file is named.

    Raises:
        ValueError: it looks like one.
    """
    if _KEY.search(path):
        raise ValueError("looks like the key itself; put that into a file, and name the file here")


def _has_good_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

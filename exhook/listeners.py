"""Which listener a client came in by, and so which instance decides."""

from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from store.view import Listener

DEFAULT: Final = "default"
MOSQUITTO: Final = "Mosquitto"
"""What the Mosquitto plugin says it is (`sysdescr`); its cluster name is the instance that it was given."""
MOSQUITTO_CERTIFICATES: Final = "Mosquitto, certificates prove"
"""The same, where its listener lets in by certificate."""
_MOST_KNOWN: Final = 1_000
_ANOTHER: Final = "\0"
"""A mountpoint that no rule names: no topic can hold it."""


class ListenerRule(BaseModel):
    """One `[[listeners]]` table of the settings file: every criterion given must fit, the first rule that does wins."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Its name in logs.")
    port: int | None = Field(default=None, description="The broker's port that the client connected to.")
    mountpoint: str | None = Field(default=None, description="The mountpoint of the broker's listener, as expanded.")
    cluster: str | None = Field(
        default=None, description="The cluster's name, as its nodes tell it; of Mosquitto, its plugin's `instance`."
    )
    instance: str = Field(default="", description="The instance that decides; empty for the default one.")
    external: bool = Field(
        default=False,
        description="The broker itself proves identities here (client certificate, its own authenticator): "
        "only `external` identities count.",
    )
    emqx: bool | None = Field(
        default=None,
        description="Whether the broker reads `$queue/F` and `$delayed/N/T` as EMQX does; "
        "left out: as it says of itself.",
    )

    @field_validator("name")
    @classmethod
    def _free_name(cls, value: str) -> str:
        if value == DEFAULT:
            raise ValueError("is the name of the listener that fits all others; choose another")
        return value


class Origin(NamedTuple):
    """What a request tells of where its client came in."""

    port: int
    mountpoint: str
    cluster: str
    sysdescr: str


class Listeners:
    """Finds the listener of a request; remembers, since a broker has few."""

    def __init__(self, rules: tuple[ListenerRule, ...]) -> None:
        self._rules = rules
        self._mountpoints = {rule.mountpoint for rule in rules} | {""}
        self._known: dict[tuple[Origin, str], Listener] = {}

    def find(self, origin: Origin, default_instance: str) -> Listener:
        if origin.mountpoint not in self._mountpoints:
            # It may hold the client id: those that no rule names are one and the same.
            origin = origin._replace(mountpoint=_ANOTHER)
        key = (origin, default_instance)
        listener = self._known.get(key)
        if listener is None:
            listener = self._find(origin, default_instance)
            if len(self._known) < _MOST_KNOWN:
                self._known[key] = listener
        return listener

    def named(self, name: str, default_instance: str) -> Listener | None:
        """The listener that a rule names, or the default one."""
        if name == DEFAULT:
            return Listener(DEFAULT, default_instance)
        for rule in self._rules:
            if rule.name == name:
                return Listener(
                    rule.name,
                    rule.instance or default_instance,
                    rule.external,
                    emqx=rule.emqx is not False,
                    mounted=bool(rule.mountpoint),
                )
        return None

    def serving(self, cluster: str) -> list[str]:
        """The names of the listeners by which a cluster's clients may have come in."""
        return [rule.name for rule in self._rules if rule.cluster in (None, cluster)] + [DEFAULT]

    def _find(self, origin: Origin, default_instance: str) -> Listener:
        says_emqx = origin.sysdescr.startswith("EMQX") or not origin.sysdescr
        external = origin.sysdescr == MOSQUITTO_CERTIFICATES
        named = origin.cluster if origin.sysdescr in (MOSQUITTO, MOSQUITTO_CERTIFICATES) else ""
        instance, mounted = named or default_instance, bool(origin.mountpoint)
        for rule in self._rules:
            if (
                rule.port in (None, origin.port)
                and rule.mountpoint in (None, origin.mountpoint)
                and rule.cluster in (None, origin.cluster)
            ):
                emqx = says_emqx if rule.emqx is None else rule.emqx
                external = rule.external or external
                return Listener(rule.name, rule.instance or instance, external, emqx=emqx, mounted=mounted)
        name = f"mosquitto/{named}" if named else DEFAULT
        return Listener(name, instance, external, emqx=says_emqx, mounted=mounted)

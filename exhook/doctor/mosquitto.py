"""The doctor's look at a Mosquitto of this machine: its configuration, the settings, the store."""

from collections.abc import Iterator
from pathlib import Path

from exhook.brokers.mosquitto.conf_file import CannotRead, Configuration, read_configuration
from exhook.doctor.finding import Finding, Grade
from exhook.doctor.mosquitto_checks import MosquittoChecks, Rules
from exhook.doctor.mosquitto_host import Host
from exhook.doctor.plugin_checks import WHERE, Asked
from exhook.settings import Settings, is_loopback, split_address
from store.database import Database
from store.seal import SealKeys
from store.tables import INSTANCES


class Mosquitto:
    """One broker, by its configuration file."""

    def __init__(self, file: Path, host: Host | None = None) -> None:
        self._file = file
        self._host = host or Host()
        self._configuration: Configuration | None = None

    def findings(self, settings: Settings, keys: SealKeys, port: int | None) -> Iterator[Finding]:
        """What was seen; `port` is where the plugin is to ask, if not where the settings listen.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        try:
            self._configuration = read_configuration(self._file)
        except CannotRead as error:
            mend = "name it by --mosquitto, and run this as a user who may read it"
            yield Finding(WHERE, "configuration", Grade.WRONG, str(error), mend)
            return
        listeners = ", ".join(str(one.port or one.address) for one in self._configuration.listeners)
        said = f"{len(self._configuration.lines)} lines; it listens on {listeners}"
        yield Finding(WHERE, "configuration", Grade.OK, said, place=str(self._file))
        with Database.open(settings.db, keys, create=False) as database:
            instances = frozenset(one.name for one in database.records(INSTANCES))
        asked = Asked(
            port=split_address(settings.listen)[1] if port is None else port,
            unix_socket=str(settings.unix_socket or ""),
            instances=instances,
            default_instance=settings.instance,
            clusters=frozenset(rule.cluster for rule in settings.listeners if rule.cluster),
        )
        rules = Rules(settings.listeners, has_emqx=bool(settings.emqx))
        yield from MosquittoChecks(self._configuration, asked, rules, self._host, self._file).findings()

    def plain_address(self) -> str:
        """HOST:PORT of a listener that a probe of this machine reaches without TLS; empty where there is none."""
        for one in self._configuration.listeners if self._configuration else ():
            if one.port and not one.find("certfile") and not one.find("psk_hint"):
                local = not one.address or is_loopback(one.address) or one.address in {"0.0.0.0", "::"}  # noqa: S104 - compared
                host = "127.0.0.1" if local else one.address
                return f"[{host}]:{one.port}" if ":" in host else f"{host}:{one.port}"
        return ""

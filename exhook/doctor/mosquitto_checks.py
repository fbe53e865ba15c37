"""Whether a Mosquitto has this server decide, always: what its configuration says against what must hold.

What must hold is said, with its reasons, in ``docs/mosquitto.md``. What answers first was tried on 2.0.11.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exhook.brokers.mosquitto.conf_file import Configuration, Line, Part, Plugin
from exhook.brokers.mosquitto.configuration import Auth, ReadCheck
from exhook.doctor.finding import Finding, Grade
from exhook.doctor.mosquitto_host import Host
from exhook.doctor.plugin_checks import WHERE, Asked, PluginChecks, is_ours
from exhook.listeners import ListenerRule
from exhook.settings import is_loopback

OLDEST: Final = (2, 0, 11)
TICKS_EVERYWHERE: Final = (2, 1)
"""From here on plugins are called regularly on listeners with settings of their own, too."""
DEFAULT_USER: Final = "mosquitto"
FILES: Final = ("password_file", "acl_file", "psk_file")
"""Files by which Mosquitto decides itself."""
FROM_CERTIFICATE: Final = ("use_identity_as_username", "use_subject_as_username")


@dataclass(frozen=True, slots=True)
class Rules:
    """The `[[listeners]]` of the settings."""

    listeners: tuple[ListenerRule, ...] = ()
    has_emqx: bool = False
    """Whether they may be meant for an EMQX."""


class MosquittoChecks:
    """The checks of one broker."""

    def __init__(self, configuration: Configuration, asked: Asked, rules: Rules, host: Host, file: Path) -> None:
        self._configuration = configuration
        self._asked = asked
        self._rules = rules
        self._host = host
        self._start = Line("listener", "", str(file))
        """Stands for the default listener, which no line names."""
        self._version = host.version()
        user = configuration.last("user")
        self._user = user.value if user and user.value else DEFAULT_USER

    def findings(self) -> Iterator[Finding]:
        yield from self._of_version()
        yield from self._order()
        seen: list[Plugin] = []
        parts: list[Part] = []
        for listener in self._configuration.listeners:
            plugins = self._configuration.plugins_of(listener)
            ours = [one for one in plugins if is_ours(one, self._host)]
            yield from self._plugin(listener, plugins, ours)
            for one in ours:
                if one not in seen:
                    seen.append(one)
                    yield from PluginChecks(one, self._asked, self._host, self._user).findings()
            if ours:
                yield from self._certificates(listener, ours[0])
                part = self._configuration.security_of(listener)
                if not any(one is part for one in parts):
                    parts.append(part)
            yield from self._exposed(listener)
            yield from self._rule(listener)
        for part in parts:
            yield from self._beside(part)
        yield from self._sessions(seen)
        for bridge in self._configuration.bridges:
            said = f"what the bridge {bridge.value!r} brings is not asked about"
            yield _finding(
                "bridge", Grade.ADVICE, said, bridge, "bridge only what every client may have: topic FILTER in"
            )

    def _of_version(self) -> Iterator[Finding]:
        found = tuple(int(part) for part in self._version.split(".") if part)
        if not found:
            yield Finding(
                WHERE, "version", Grade.ADVICE, "mosquitto is not installed here", "look where the broker runs"
            )
        elif found < OLDEST:
            said = f"Mosquitto {self._version} lacks calls that the plugin needs"
            yield Finding(WHERE, "version", Grade.WRONG, said, "upgrade to 2.0.11 or newer")
        else:
            yield Finding(WHERE, "version", Grade.OK, f"Mosquitto {self._version}, plugin interface 5")
        switch = self._configuration.per_listener
        if switch and found[:2] < TICKS_EVERYWHERE:
            line = next(one for one in self._configuration.lines if one.key == "per_listener_settings")
            said = "2.0 cannot disconnect whoever lost a right here; they are cut off at their next step instead"
            yield _finding("per_listener_settings", Grade.ADVICE, said, line, "upgrade to 2.1; or one plugin for all")

    def _order(self) -> Iterator[Finding]:
        """`per_listener_settings` comes before what it is about, or the broker does not start."""
        first = next(
            (one for one in self._configuration.lines if one.key in {*FILES, "allow_anonymous", "plugin"}), None
        )
        switch = next((one for one in self._configuration.lines if one.key == "per_listener_settings"), None)
        lines = self._configuration.lines
        if first and switch and lines.index(first) < lines.index(switch):
            said = f"stands behind {first.key} ({first.place}): the broker does not start"
            yield _finding("per_listener_settings", Grade.WRONG, said, switch, "put it first")

    def _plugin(self, listener: Part, plugins: list[Plugin], ours: list[Plugin]) -> Iterator[Finding]:
        name, line = _name(listener), listener.line or self._start
        if not ours:
            below = (
                f"below `listener {listener.line.value}`: "
                if listener.line and self._configuration.per_listener
                else ""
            )
            port = self._asked.port or 9000
            mend = f"{below}plugin /usr/local/lib/mosquitto_exhook.so\nplugin_opt_address 127.0.0.1:{port}"
            said = f"{name}: nobody asks this server; {self._otherwise(listener)}"
            yield _finding("plugin", Grade.WRONG, said, line, mend)
            return
        before = plugins[: plugins.index(ours[0])]
        for one in before:
            said = f"{Path(one.path).name} is asked first, and decides about whom it knows"
            yield _finding("plugin", Grade.WRONG, said, one.line, "take it out, or put it below exhook's plugin")
        for one in plugins[len(before) + 1 :]:
            said = f"{Path(one.path).name} is asked where an instance says no_match: pass"
            yield _finding("plugin", Grade.ADVICE, said, one.line, "take it out, if that is not meant")
        if not before:
            yield _finding("plugin", Grade.OK, f"{name} asks exhook's plugin first", ours[0].line)

    def _otherwise(self, listener: Part) -> str:
        """What decides where no plugin of ours does."""
        part = self._configuration.security_of(listener)
        anonymous = part.find("allow_anonymous")
        if (anonymous and anonymous.is_true) or (anonymous is None and self._configuration.local_only):
            return "everybody is let in"
        return "Mosquitto decides by itself"

    def _certificates(self, listener: Part, plugin: Plugin) -> Iterator[Finding]:
        named = _named_by_certificates(listener)
        auth = plugin.option("auth")
        certificate = auth is not None and auth.value == Auth.CERTIFICATE
        apart = "" if self._configuration.per_listener else "per_listener_settings true, and below this listener: "
        if named and not certificate:
            said = f"{_name(listener)}: a certificate named like a user with a password gets that user's rights"
            mend = f"{self._apart(apart)}plugin_opt_auth certificate"
            yield _finding("certificates", Grade.WRONG, said, named, mend)
        elif certificate and not named:
            said = f"{_name(listener)}: nobody gets in, since no certificate is asked for a user name"
            mend = "require_certificate true\nuse_identity_as_username true"
            if apart and len(self._configuration.listeners) > 1:
                mend = f"{apart}plugin_opt_auth password"
            yield _finding("certificates", Grade.WRONG, said, auth or plugin.line, mend)
        elif named:
            said = f"{_name(listener)}: certificates prove who a client is; external identities alone count"
            yield _finding("certificates", Grade.OK, said, named)

    def _apart(self, prefix: str) -> str:
        """Where one plugin serves all listeners, those of two kinds need one each."""
        kinds = {_named_by_certificates(one) is not None for one in self._configuration.listeners}
        return prefix if len(kinds) > 1 else ""

    def _exposed(self, listener: Part) -> Iterator[Finding]:
        local = not listener.port or (listener.address and is_loopback(listener.address))
        if local or _sealed(listener) or self._configuration.local_only:
            return
        said = f"{_name(listener)}: passwords come in the clear from other machines"
        mend = f"certfile FILE\nkeyfile FILE\nor: listener {listener.port} 127.0.0.1"
        yield _finding("tls", Grade.ADVICE, said, listener.line or self._start, mend)

    def _rule(self, listener: Part) -> Iterator[Finding]:
        """A plugin cannot tell by which port a client came."""
        for rule in self._rules.listeners:
            if rule.port == listener.port and rule.port:
                said = f"[[listeners]] {rule.name!r} never fits: Mosquitto does not tell port {rule.port}"
                mend = 'plugin_opt_instance NAME, and cluster = "NAME" in place of `port`'
                if rule.external:
                    mend = "plugin_opt_auth certificate, in place of `external`"
                grade = Grade.ADVICE if self._rules.has_emqx else Grade.WRONG
                yield _finding("listener", grade, said, listener.line or self._start, mend)

    def _beside(self, part: Part) -> Iterator[Finding]:
        """What decides where the server leaves it to others."""
        for key in FILES:
            if line := part.find(key):
                said = f"{key} is a second policy: it decides where an instance says no_match: pass"
                yield _finding(key, Grade.ADVICE, said, line, "take it out; exhook-sync import takes over what it says")
        anonymous = part.find("allow_anonymous")
        if anonymous and anonymous.is_true:
            said = "whoever the plugin leaves to others (no_match: pass) is let in without a name"
            yield _finding("allow_anonymous", Grade.ADVICE, said, anonymous, "allow_anonymous false")

    def _sessions(self, plugins: list[Plugin]) -> Iterator[Finding]:
        kept = self._configuration.last("persistence")
        if kept is None or not kept.is_true:
            return
        for plugin in plugins:
            reads = plugin.option("read_check")
            if reads is None or reads.value == ReadCheck.REVOKED:
                said = (
                    "sessions outlive the broker, which then forgets who lost a right: their old subscriptions deliver"
                )
                yield _finding("persistence", Grade.ADVICE, said, kept, "plugin_opt_read_check durable")


def _sealed(listener: Part) -> bool:
    return bool(listener.find("certfile") or listener.find("psk_hint"))


def _named_by_certificates(listener: Part) -> Line | None:
    """The line by which user names come from certificates; without TLS it does nothing (tried on 2.0.11)."""
    lines = (listener.find(key) for key in FROM_CERTIFICATE) if _sealed(listener) else ()
    return next((one for one in lines if one and one.is_true), None)


def _name(listener: Part) -> str:
    return f"listener {listener.line.value}" if listener.line else f"the default listener ({listener.port})"


def _finding(check: str, grade: Grade, said: str, line: Line, mend: str = "") -> Finding:
    return Finding(WHERE, check, grade, said, mend, line.place)

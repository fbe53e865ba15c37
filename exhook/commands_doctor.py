"""The command `doctor`."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from exhook.brokers.emqx import EmqxApi, EmqxFault
from exhook.brokers.emqx_cluster import EmqxCluster
from exhook.demo import missing_extras
from exhook.demo.script import Login
from exhook.doctor.emqx_checks import Checks, Server
from exhook.doctor.finding import Finding, Grade, in_force
from exhook.doctor.mosquitto import Mosquitto
from exhook.doctor.reports import report_of
from exhook.faults import CannotStart
from exhook.options import Config, Db, SealKeyFile
from exhook.settings import Settings, load_settings, split_address
from exhook.status import Status
from store.clock import now_ms
from store.database import Database
from store.seal import SealKeys
from store.sync.exit_codes import Usage
from store.tables import ACCESS_KEYS

PASSWORD_VARIABLE = "EXHOOK_PROBE_PASSWORD"  # noqa: S105 - the name of one


def doctor(
    cluster: Annotated[str | None, typer.Option(metavar="NAME", help="This cluster of the settings alone.")] = None,
    port: Annotated[int | None, typer.Option(help="Port that brokers call; the setting `listen` if left out.")] = None,
    mosquitto: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check the Mosquitto of this machine that reads this file.")
    ] = None,
    mqtt: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Probe this broker as an MQTT client.")] = None,
    mqtt_ca: Annotated[Path | None, typer.Option(help="Certificates to trust; the probe then speaks TLS.")] = None,
    probe_username: Annotated[str, typer.Option(help="The probe's user name.")] = "",
    probe_client_id: Annotated[str, typer.Option(help="The probe's client id.")] = "exhook-doctor",
    allowed: Annotated[str, typer.Option(metavar="FILTER", help="What the probe may subscribe to.")] = "",
    denied: Annotated[str, typer.Option(metavar="FILTER", help="What it may not.")] = "",
    config: Config = None,
    db: Db = None,
    seal_key_file: SealKeyFile = None,
    *,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the probe's password from here.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> int:
    """Check that the server's decisions are in force on its brokers. Exit code: 0 they are, 1 they are not."""
    settings = load_settings({"db": db, "seal_key_file": seal_key_file}, os.environ, config)
    chosen = [one for one in settings.emqx if cluster in {None, one.name}]
    if not chosen and not mqtt and not mosquitto:
        named = ", ".join(one.name for one in settings.emqx) or "none"
        raise Usage(
            f"nothing to look at: name a cluster by [[emqx]] in the settings ({named}), Mosquitto's configuration by "
            "--mosquitto, or a broker by --mqtt"
        )
    keys = SealKeys.from_environment(os.environ, settings.seal_key_file)
    findings = [*_server(settings, keys)]
    for one in chosen:
        findings += asyncio.run(_cluster(one, settings, port, tokens=_has_access_keys(settings, keys)))
    if mosquitto:
        broker = Mosquitto(mosquitto)
        findings += broker.findings(settings, keys, port)
        if probe_username and not mqtt:
            mqtt = broker.plain_address() or None
    if mqtt:
        password = sys.stdin.buffer.readline().removesuffix(b"\n") if password_stdin else b""
        login = Login(probe_username, probe_client_id, password or os.environ.get(PASSWORD_VARIABLE, "").encode())
        findings += _probe(mqtt, mqtt_ca, login, (allowed, denied), settings.db, ask_version=mosquitto is not None)
    _show(findings, as_json=as_json)
    return 0 if in_force(findings) else 1


def _server(settings: Settings, keys: SealKeys) -> Iterator[Finding]:
    with Database.open(settings.db, keys, create=False) as database:
        status = Status.of(database, now_ms())
    found = list(status.findings())
    for said in found:
        yield Finding("server", "status", Grade.WRONG, said, "see exhook status, and the server's log")
    for said in status.advice():
        yield Finding("server", "status", Grade.ADVICE, said, "see docs/operations.md, Certificates")
    if not found:
        yield Finding("server", "status", Grade.OK, f"{len(status.workers)} workers, revision {status.revision}")


def _has_access_keys(settings: Settings, keys: SealKeys) -> bool:
    with Database.open(settings.db, keys, create=False) as database:
        return any(True for _ in database.records(ACCESS_KEYS))


async def _cluster(cluster: EmqxCluster, settings: Settings, port: int | None, *, tokens: bool) -> list[Finding]:
    server = Server(
        port=split_address(settings.listen)[1] if port is None else port,
        workers=settings.workers,
        external_ports=frozenset(rule.port for rule in settings.listeners if rule.external and rule.port is not None),
        carrier=settings.carrier,
        tokens=tokens,
    )
    async with EmqxApi(cluster, os.environ) as api:
        try:
            report = await report_of(api)
        except EmqxFault as error:
            mend = "see `url`, the API key and the network; without it, nothing can be said of the cluster"
            return [Finding(cluster.name, "api", Grade.WRONG, str(error), mend)]
    return [Finding(cluster.name, "api", Grade.OK, cluster.url), *Checks(cluster.name, report, server).findings()]


def _probe(
    address: str, ca_file: Path | None, login: Login, filters: tuple[str, str], store: Path, *, ask_version: bool
) -> list[Finding]:
    if not login.username or not login.password:
        raise Usage(
            f"whom to probe as? give --probe-username, and its password by --password-stdin or {PASSWORD_VARIABLE}"
        )
    if "paho-mqtt" in missing_extras():
        raise CannotStart("exhook doctor --mqtt needs paho-mqtt: pip install 'exhook[broker]'")
    from exhook.doctor.probes import Probe, probe  # noqa: PLC0415 - needs the extra `broker`

    try:
        host, port = split_address(address)
    except ValueError as error:
        raise Usage(f"--mqtt: {address!r} {error}") from None
    allowed, denied = filters
    one = Probe(
        host=host, port=port, ca_file=ca_file, login=login, allowed=allowed, denied=denied, ask_version=ask_version
    )
    return list(probe(one, store))


def _show(findings: list[Finding], *, as_json: bool) -> None:
    if as_json:
        said = {"in_force": in_force(findings), "findings": [one.as_json() for one in findings]}
        typer.echo(json.dumps(said, ensure_ascii=False))
        return
    for finding in findings:
        for line in finding.as_text():
            typer.echo(line)
    typer.echo("in force" if in_force(findings) else "NOT in force")

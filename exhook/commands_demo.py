"""The command `demo`."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from exhook.brokers.emqx_cluster import API_KEY_VARIABLE, EmqxCluster
from exhook.brokers.mosquitto.running import why_not
from exhook.demo import DemoBroker, missing_extras
from exhook.faults import CannotStart
from exhook.options import SealKeyFile
from exhook.settings import split_address


def demo(
    *,
    json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
    stay: Annotated[bool, typer.Option("--stay", help="Go on serving, with the broker on 1883, until Ctrl-C.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Where policy and store are kept; a new one if left out.")] = None,
    broker: Annotated[DemoBroker, typer.Option(help="What the clients go through.")] = DemoBroker.AUTO,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT", help="Start nothing; try that broker, on the demo's policy. May be repeated."
        ),
    ] = None,
    emqx_api: Annotated[
        str | None, typer.Option(metavar="URL", help="With --against: the API of its EMQX cluster, asked as well.")
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help=f"File with KEY:SECRET of that API; {API_KEY_VARIABLE} if left out.")
    ] = None,
    db: Annotated[
        Path | None, typer.Option("--db", help="With --against: its server's store; a client is blacklisted in it.")
    ] = None,
    seal_key_file: SealKeyFile = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Let an http API be another machine's.")] = False,
) -> None:
    """Start everything on free ports, let real MQTT clients try things, show what happened and why."""
    if against:
        cluster = _demo_cluster(emqx_api, api_key_file, insecure=insecure)
        raise typer.Exit(_demo_against(against, cluster, db, seal_key_file, as_json=json))
    if emqx_api or db:
        raise CannotStart("--emqx-api and --db tell of brokers that are there; name one by --against HOST:PORT")
    obstacle = why_not() if broker is not DemoBroker.EMBEDDED else ""
    if obstacle and broker is DemoBroker.MOSQUITTO:
        raise CannotStart(f"{obstacle}; install it, or say --broker embedded")
    mosquitto = broker is not DemoBroker.EMBEDDED and not obstacle
    _need_extras(mosquitto=mosquitto)
    if obstacle:
        typer.echo(f"{obstacle}: the clients go through the embedded broker", err=True)
    from exhook.demo.running import run_demo  # noqa: PLC0415 - needs the extra `broker`

    raise typer.Exit(run_demo(as_json=json, stay=stay, folder=folder, mosquitto=mosquitto))


def _demo_against(
    against: list[str], cluster: EmqxCluster | None, db: Path | None, seal_key_file: Path | None, *, as_json: bool
) -> int:
    brokers = []
    for address in against:
        try:
            brokers.append(split_address(address))
        except ValueError as wrong:
            raise CannotStart(f"--against: {address!r} {wrong}") from None
    _need_extras(mosquitto=True)
    from exhook.demo.against import Against  # noqa: PLC0415 - needs the extra `broker`

    return Against(brokers=brokers, cluster=cluster, db=db, seal_key_file=seal_key_file).run(as_json=as_json)


def _demo_cluster(url: str | None, api_key_file: Path | None, *, insecure: bool) -> EmqxCluster | None:
    if url is None:
        return None
    try:
        return EmqxCluster(name="demo", url=url, api_key_file=api_key_file, insecure=insecure)
    except ValidationError as wrong:
        (detail, *_) = wrong.errors(include_url=False)
        said = str(detail["msg"]).removeprefix("Value error, ").replace("insecure = true", "--insecure")
        raise CannotStart(f"--emqx-api: {url!r} {said}") from None


def _need_extras(*, mosquitto: bool) -> None:
    if missing := missing_extras(mosquitto=mosquitto):
        raise CannotStart(f"exhook demo needs {' and '.join(missing)}: pip install 'exhook[broker]'")

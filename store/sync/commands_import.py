"""The command of `exhook-sync` that makes a policy of another system's files."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import TypeAdapter, ValidationError

from store.sync import options as opt
from store.sync.console import complain, say
from store.sync.exit_codes import ExitCode, Usage
from store.sync.importing import dynamic_security, emqx_acl, emqx_builtin, mosquitto_acl, mosquitto_passwords
from store.sync.importing.emqx_hashes import Algorithm, Hashing, SaltPosition
from store.sync.importing.imported import Imported
from store.sync.importing.leftovers import Sort
from store.sync.importing.original import Original
from store.sync.importing.writing import policy_text
from store.sync.phrases import counted
from store.sync.scalars import InstanceId, SourceName
from store.sync.schema import DEFAULT_INSTANCE, DEFAULT_SOURCE


class Kind(StrEnum):
    """What can be imported."""

    EMQX_ACL = "emqx-acl"
    EMQX_BUILTIN = "emqx-builtin"
    MOSQUITTO_PASSWORDS = "mosquitto-passwords"
    MOSQUITTO_ACL = "mosquitto-acl"
    DYNAMIC_SECURITY = "dynamic-security"


@dataclass(frozen=True, slots=True)
class _Importer:
    noun: str
    several: bool
    """Whether several files make one whole."""
    run: Callable[[Sequence[Original], Hashing], Imported]


IMPORTERS: Final = {
    Kind.EMQX_ACL: _Importer("EMQX's acl.conf", True, lambda files, _: emqx_acl.import_acl(files)),
    Kind.EMQX_BUILTIN: _Importer("EMQX's built-in database", True, emqx_builtin.import_builtin),
    Kind.MOSQUITTO_PASSWORDS: _Importer(
        "Mosquitto's password_file", True, lambda files, _: mosquitto_passwords.import_passwords(files)
    ),
    Kind.MOSQUITTO_ACL: _Importer("Mosquitto's acl_file", False, lambda files, _: mosquitto_acl.import_acl(files[0])),
    Kind.DYNAMIC_SECURITY: _Importer(
        "Mosquitto's dynamic security", False, lambda files, _: dynamic_security.import_dynamic_security(files[0])
    ),
}
_OWNER_ALONE: Final = 0o600
"""A new policy may hold hashes that are weak against whoever reads them."""


def import_(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="What the files are.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="The files; - is standard input.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write there, not to standard output.")
    ] = None,
    source: Annotated[
        str, typer.Option("--source", metavar="NAME", help="Owner of the records of the policy.")
    ] = DEFAULT_SOURCE,
    instance: Annotated[
        str, typer.Option("--instance", metavar="NAME", help="Instance of its entries.")
    ] = DEFAULT_INSTANCE,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write what is told on standard error there, too.")
    ] = None,
    algorithm: Annotated[
        Algorithm, typer.Option("--algorithm", help="emqx-builtin: password_hash_algorithm.name.")
    ] = Algorithm.SHA256,
    salt_position: Annotated[
        SaltPosition | None, typer.Option("--salt-position", help="emqx-builtin: where the salt stands.")
    ] = None,
    mac_fun: Annotated[
        str, typer.Option("--mac-fun", metavar="NAME", help="emqx-builtin: of pbkdf2, sha256, say.")
    ] = "",
    iterations: Annotated[int, typer.Option("--iterations", min=0, metavar="N", help="emqx-builtin: of pbkdf2.")] = 0,
    quiet: opt.Quiet = False,
) -> None:
    """Make a policy of the users and rules of EMQX or Mosquitto. Never grants more than they did.

    What cannot be carried over is listed line by line, on standard error and at the end of the policy. Exits with
    0 if all was carried over, with 10 if something was not, with 3 if a file cannot be understood.
    """
    importer = IMPORTERS[kind]
    _check_name("--source", source, SourceName)
    _check_name("--instance", instance, InstanceId)
    if len(files) > 1 and not importer.several:
        raise Usage(f"{kind} takes one file; import each with an --instance of its own")
    if output is not None and output.exists():
        raise Usage(f"{output}: exists already; name another file, or move it away")
    made = importer.run([Original.read(file) for file in files], Hashing(algorithm, salt_position, mac_fun, iterations))
    origin = f"{importer.noun} ({', '.join(map(str, files))}) by `exhook-sync import {kind}`"
    text = policy_text(made, origin=origin, source=source, instance=instance)
    if report is not None:
        _write(report, "".join(f"{line}\n" for line in made.leftovers.lines()))
    if output is None:
        typer.echo(text, nl=False)
    else:
        _write(output, text)
    _tell(made, output, quiet=quiet)
    if made.leftovers:
        raise typer.Exit(ExitCode.LINT)


def _tell(made: Imported, output: Path | None, *, quiet: bool) -> None:
    """What could not be carried over, always; the rest unless it is not wanted."""
    if quiet:
        complain(map(str, made.leftovers.of(Sort.LEFT_OUT, Sort.STRICTER)))
        return
    complain(made.leftovers.lines())
    permissions = {(rule.key, rule.topic, rule.effect) for rule in (*made.allows, *made.denies)}
    counts = (
        counted(len(made.identities), "identity", "identities"),
        counted(len(permissions), "permission"),
        counted(len(made.blacklist), "blacklist entry", "blacklist entries"),
    )
    lost = made.leftovers.summary()
    end = f"not all of it could be carried over: {lost}" if lost else "all of it was carried over"
    line = f"{output or '<stdout>'}: {', '.join(counts)}; {end}"
    if output is None:
        complain([line])
    else:
        say(line)


def _check_name(option: str, value: str, kind: Any) -> None:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError as wrong:
        raise Usage(f"{option}: {wrong.errors()[0]['msg']}") from None


def _write(file: Path, text: str) -> None:
    try:
        # Often the first file of a policy, and so of its folder.
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OWNER_ALONE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise Usage(f"{file}: cannot be written ({error.strerror}); name another file") from None

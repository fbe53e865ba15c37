"""Groups of commands that import the module of a command when it is asked for: starting is most of what many cost."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Final, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from store.sync.console import report
from store.sync.exit_codes import ExitCode, Usage

_VERBOSE: Final = frozenset({"-v", "--verbose"})


@dataclass(frozen=True, slots=True)
class Late:
    """A command, or a group of them, by the place of its function, or of its `typer.Typer`."""

    module: str
    name: str
    epilog: str = ""

    def made(self, command: str, kind: type[TyperCommand]) -> Any:
        """The command under this name."""
        app = typer.Typer(rich_markup_mode=None)
        found = getattr(import_module(self.module), self.name)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=command)
        else:
            app.command(command, cls=kind, epilog=self.epilog)(found)
        return get_group(app).commands[command]


class FilledCommand(TyperCommand):
    """A command that takes no empty value: what a script gives so is a variable that nobody has set.

    An empty checksum would be none, and an empty path the current folder.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Look at what is given before anything is made of it.

        Raises:
            Usage: a value is empty, or a number below zero, which is read as an option.
        """
        try:
            given, *_ = self.make_parser(ctx).parse_args(args=list(args))
        except Exception as wrong:
            name = getattr(wrong, "option_name", "")
            if name[1:].isdigit():
                raise Usage(f"{ctx.command_path}: {name}: no number here is below 0; write one from 0 on") from None
            raise
        for one in self.get_params(ctx):
            values = given.get(one.name or "")
            if "" in (values if isinstance(values, list | tuple) else [values]):
                name = one.metavar if one.param_type_name == "argument" else max(one.opts, key=len)
                raise Usage(
                    f"{ctx.command_path}: {name} is empty, as where a script's variable is not set; "
                    "give it a value, or leave it out"
                )
        return super().parse_args(ctx, args)


class LateCommands(TyperGroup):
    """A group of commands that are imported when they are asked for, and named on the help page in whole sentences."""

    late: ClassVar[Mapping[str, Late]] = {}
    kind: ClassVar[type[TyperCommand]] = TyperCommand
    """What the commands are."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self._early = dict(self.commands)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as the library has it
        """All names: what is defined at once, and what is imported late."""
        return [*self._early, *self.late]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name, imported now; None if there is none."""
        if cmd_name in self.late and cmd_name not in self.commands:
            self.commands[cmd_name] = self.late[cmd_name].made(cmd_name, self.kind)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that a line names; where there is none, all names are looked at for a similar one."""
        if args[0] not in self.list_commands(ctx):
            self.import_all()
        return super().resolve_command(ctx, args)

    def import_all(self) -> None:
        """Import the commands that nobody has asked for yet."""
        for name in self.late:
            self.get_command(None, name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as the library has it
        """What each command does: the first sentence of its help, however long."""
        self.import_all()
        with formatter.section("Commands"):
            formatter.write_dl([
                (name, (command.help or "").split("\n\n")[0].replace("\n", " ").partition(". ")[0].rstrip("."))
                for name, command in self.commands.items()
            ])  # fmt: skip


class Commands(LateCommands):
    """A group of commands whose failures all end in one place."""

    kind: ClassVar[type[TyperCommand]] = FilledCommand

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run a command and exit; `standalone_mode` changes nothing."""
        del standalone_mode
        written = sys.argv[1:] if args is None else list(args)
        try:
            code = super().main(
                args=args,
                prog_name=prog_name,
                complete_var=complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read the output has seen enough; what Python flushes at exit must not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(ExitCode.DONE)
        except Exception as error:  # noqa: BLE001 - the one place where failures end
            sys.exit(report(error, verbose=not _VERBOSE.isdisjoint(written)))
        sys.exit(code or ExitCode.DONE)


def whole(app: typer.Typer) -> Any:
    """All commands of an application, imported."""
    group = get_command(app)
    if isinstance(group, LateCommands):
        group.import_all()
    return group

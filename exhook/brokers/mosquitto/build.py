"""Compiles the plugin from the C source in this package, and looks whether it loads, before it takes its place."""

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

SOURCE: Final = "plugin"
SYMBOL: Final = "exhook_plugin_version"
FILE: Final = "mosquitto_exhook.so"

FLAGS: Final = (
    "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O2", "-D_FORTIFY_SOURCE=2",
    "-fstack-protector-strong", "-fvisibility=hidden", "-fPIC", "-shared", "-Wl,-z,relro,-z,now",
)  # fmt: skip
COMPILERS: Final = ("cc", "gcc", "clang")
_SECONDS: Final = 120
_SHOWN: Final = 2_000


class CannotBuild(Exception):
    """There is no plugin; the message says why and what to do."""


def compiler() -> str | None:
    """The C compiler: `CC`, or the first that is on the path; None where there is none."""
    named = os.environ.get("CC")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, COMPILERS)), None)


def build(into: Path, flags: Sequence[str] = FLAGS) -> None:
    """Make the plugin, and put it at `into` in one move.

    Raises:
        CannotBuild: no compiler, it failed, what it made does not load, or the place cannot be written to.
    """
    program = compiler()
    if program is None:
        raise CannotBuild(
            "there is no C compiler here (cc, gcc or clang; CC names another); install one, on Debian by "
            "`apt-get install gcc libc6-dev`, or build on a machine like this one and copy the file"
        )
    try:
        with tempfile.TemporaryDirectory(prefix=".exhook-build-", dir=into.parent) as folder:
            made = Path(folder) / FILE
            compile_plugin(made, program, flags)
            check(made)
            made.chmod(0o755)
            made.replace(into)
    except OSError as error:
        raise CannotBuild(f"{into}: cannot be written ({error.strerror}); name another file by -o") from None


def compile_plugin(into: Path, program: str, flags: Sequence[str]) -> None:
    """Compile all of the source into one file.

    Raises:
        CannotBuild: the compiler failed.
    """
    define = f'-DEXHOOK_VERSION="{version("exhook")}"'
    with as_file(files(__package__) / SOURCE) as source:
        sources = sorted(map(str, source.glob("*.c")))
        command = [program, *flags, define, "-o", str(into), *sources, "-ldl"]
        try:
            made = subprocess.run(  # noqa: S603 - the compiler of this machine, on our own source
                command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise CannotBuild(f"{program} did not end within {_SECONDS} s") from None
    if made.returncode:
        raise CannotBuild(f"{program} failed:\n{made.stderr[-_SHOWN:].strip()}")


def check(made: Path) -> None:
    """Load the plugin once, and see whether it is the one of this version.

    Raises:
        CannotBuild: it does not load, or is another.
    """
    wanted = version("exhook").encode()
    try:
        library = ctypes.CDLL(str(made))
        found = bytes((ctypes.c_char * (len(wanted) + 1)).in_dll(library, SYMBOL))
    except (OSError, ValueError) as error:
        raise CannotBuild(f"what the compiler made does not load: {error}") from None
    if found != wanted + b"\0":
        raise CannotBuild(f"what the compiler made is not the plugin of exhook {wanted.decode()}")

"""Make the Python of the three ExHook versions, and of the bridge to Mosquitto, from their .proto files.

``python -m protos.generate`` writes ``…_pb2.py`` and ``…_pb2.pyi`` beside the .proto files; ``--check`` writes
nothing, compares, and exits 1 naming every file that is out of date. The compiler is that of grpcio-tools, pinned in
pyproject.toml: another version makes other bytes. No gRPC stubs are made: the carriers move bytes, and a call needs
only its path.
"""

import argparse
import importlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
PROTOS = (*(f"exhook_v{version}.proto" for version in (1, 2, 3)), "exhook_bridge_v1.proto")

# protoc writes `Mapping` without parameters and `**kwargs` without a type (it stands for fields such as
# `from`, which Python cannot take as a keyword); everything else in a stub is checked strictly.
STUB_HEADER = '# mypy: disable-error-code="type-arg,no-untyped-def"\n'


class GenerationFailed(Exception):
    """The compiler is missing or refused a file; the message says which."""


def generate(into: Path) -> tuple[Path, ...]:
    """Write the generated files to the directory ``into`` and return their paths.

    Raises:
        GenerationFailed: grpcio-tools is not installed, or protoc refused a .proto file (protoc itself has
            printed file, line and column).
    """
    try:
        protoc = importlib.import_module("grpc_tools.protoc")
    except ModuleNotFoundError as missing:
        raise GenerationFailed(
            "generating needs grpcio-tools: python -m pip install --group generate (pip 25.1 or newer)"
        ) from missing
    written: list[Path] = []
    with tempfile.TemporaryDirectory() as name:
        for proto in PROTOS:
            # Named from the repository's root, so that the module knows itself as protos.exhook_v3_pb2.
            source = f"{HERE.name}/{proto}"
            if protoc.main(["protoc", f"-I{HERE.parent}", f"--python_out={name}", f"--pyi_out={name}", source]):
                raise GenerationFailed(f"protoc refused {source}")
            made = (Path(name) / source).with_name(proto.replace(".proto", "_pb2.py"))
            stub = made.with_suffix(".pyi")
            stub.write_bytes(STUB_HEADER.encode() + stub.read_bytes())
            for path in (made, stub):
                target = into / path.name
                target.write_bytes(path.read_bytes())
                written.append(target)
    return tuple(written)


def stale(fresh: Sequence[Path], committed: Path = HERE) -> tuple[str, ...]:
    """Names of the files in ``fresh`` whose bytes differ from, or are missing in, ``committed``."""
    return tuple(
        path.name
        for path in fresh
        if not (committed / path.name).is_file() or (committed / path.name).read_bytes() != path.read_bytes()
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or compare; the exit status is 0 when all is up to date, else 1."""
    parser = argparse.ArgumentParser(prog="python -m protos.generate", description="protos/*_pb2.py from *.proto")
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 when a file is out of date")
    check = parser.parse_args(arguments).check
    try:
        if not check:
            generate(HERE)
            return 0
        with tempfile.TemporaryDirectory() as name:
            names = stale(generate(Path(name)))
    except GenerationFailed as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    for out_of_date in names:
        sys.stderr.write(f"protos/{out_of_date} is out of date: run python -m protos.generate\n")
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())

"""Builds the C++ server that figures are compared to, where its compiler and libraries are.

On Debian: `apt install g++ libgrpc++-dev protobuf-compiler-grpc`. Takes a minute, once.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = Path(__file__).with_name("callback_server.cc")
BUILT: Final = ROOT / ".run" / "bench" / "callback_server"
_LIBRARIES: Final = ("-lgrpc++", "-lgrpc", "-lprotobuf", "-lgpr", "-labsl_synchronization", "-lpthread")


def build() -> Path | None:
    """The program; None where it cannot be built here."""
    if BUILT.exists() and BUILT.stat().st_mtime > SOURCE.stat().st_mtime:
        return BUILT
    compiler, protoc, plugin = map(shutil.which, ("g++", "protoc", "grpc_cpp_plugin"))
    if not (compiler and protoc and plugin):
        return None
    BUILT.parent.mkdir(parents=True, exist_ok=True)
    folder, protos = str(BUILT.parent), ROOT / "protos"
    made = [str(BUILT.parent / f"exhook_v3.{kind}.cc") for kind in ("pb", "grpc.pb")]
    interface = [f"--cpp_out={folder}", f"--grpc_out={folder}", f"--plugin=protoc-gen-grpc={plugin}"]
    try:
        subprocess.run([protoc, "-I", protos, *interface, protos / "exhook_v3.proto"], check=True)
        options = ["-O2", "-std=c++17", "-I", folder, "-o", str(BUILT)]
        subprocess.run([compiler, *options, SOURCE, *made, *_LIBRARIES], check=True)
    except subprocess.CalledProcessError:
        return None
    return BUILT

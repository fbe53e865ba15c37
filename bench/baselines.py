"""Servers of others that figures are compared to, where their compilers and libraries are: each decides nothing.

The first, gRPC's C++ callback server, is the yardstick. Those that are missing are named, with what brings them.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from questions import ALLOW, AUTHENTICATE, AUTHORIZE
from servers import Server, listening, saying_its_port

ROOT: Final = Path(__file__).parents[1]
BUILT: Final = ROOT / ".bench" / "built"
INTERFACE: Final = ROOT / "protos" / "exhook_v3.proto"
CPP_SOURCE: Final = Path(__file__).with_name("callback_server.cc")
GO_SOURCE: Final = Path(__file__).with_name("noop_server.go")

CPP_NAME: Final = "no-op, C++ callback"
GO_NAME: Final = "no-op, Go"
RAW_NAME: Final = "nghttpd, a file"
CPP_PACKAGES: Final = "g++ protobuf-compiler libgrpc++-dev protobuf-compiler-grpc"
GO_PACKAGES: Final = "golang-go protobuf-compiler golang-goprotobuf-dev golang-google-grpc-dev"
RAW_PACKAGES: Final = "nghttp2-server"

_DIGITS: Final = 12
_LIBRARIES: Final = ("-lgrpc++", "-lgrpc", "-lprotobuf", "-lgpr", "-labsl_synchronization", "-lpthread")
_DEBIAN_GOPATH: Final = "/usr/share/gocode"
"""Where Debian's packages put the source of Go libraries."""


@contextmanager
def baselines(folder: Path, left_out: list[str], *, core: int) -> Iterator[list[Server]]:
    """All that can be had here, running, the yardstick first; `left_out` is told the others, a sentence each."""
    with ExitStack() as stack:
        found = []
        for name, built, packages in ((CPP_NAME, cpp(), CPP_PACKAGES), (GO_NAME, go(), GO_PACKAGES)):
            if built:
                found.append(stack.enter_context(saying_its_port(name, str(built), cores=(core,))))
            else:
                left_out.append(_missing(name, packages))
        if program := shutil.which("nghttpd", path=f"{os.environ['PATH']}:/usr/sbin"):
            command = (program, "--no-tls", "--trailer", "grpc-status: 0", "-a", "127.0.0.1", "-d", str(_files(folder)))
            found.append(stack.enter_context(listening(RAW_NAME, command, cores=(core,))))
        else:
            left_out.append(_missing(RAW_NAME, RAW_PACKAGES))
        yield found


def cpp() -> Path | None:
    """The C++ server; None where it cannot be built here. Takes a minute, once."""
    made = _place(CPP_SOURCE)
    if made.exists():
        return made
    compiler, protoc, plugin = map(shutil.which, ("g++", "protoc", "grpc_cpp_plugin"))
    if not (compiler and protoc and plugin):
        return None
    folder = _emptied(made.parent)
    sources = [str(folder / f"exhook_v3.{kind}.cc") for kind in ("pb", "grpc.pb")]
    interface = [f"--cpp_out={folder}", f"--grpc_out={folder}", f"--plugin=protoc-gen-grpc={plugin}"]
    options = ["-O2", "-std=c++17", "-I", str(folder), "-o", str(made)]
    try:
        subprocess.run([protoc, "-I", INTERFACE.parent, *interface, INTERFACE], check=True)
        subprocess.run([compiler, *options, CPP_SOURCE, *sources, *_LIBRARIES], check=True)
    except subprocess.CalledProcessError:
        return None
    return made


def go() -> Path | None:
    """The Go server, of the libraries that Debian packages alone; None where it cannot be built here."""
    made = _place(GO_SOURCE)
    if made.exists():
        return made
    compiler, protoc = shutil.which("go"), shutil.which("protoc")
    if not (compiler and protoc and shutil.which("protoc-gen-go")):
        return None
    folder = _emptied(made.parent)
    package = folder / "src" / "exhook_v3"
    package.mkdir(parents=True)
    interface = f"--go_out=plugins=grpc,Mexhook_v3.proto=exhook_v3:{package}"
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOFLAGS": "",
        "GOPATH": f"{folder}:{_DEBIAN_GOPATH}",
        "GOCACHE": str(folder / "cache"),
    }
    try:
        subprocess.run([protoc, "-I", INTERFACE.parent, interface, INTERFACE], check=True)
        subprocess.run([compiler, "build", "-o", made, GO_SOURCE], check=True, env=environment)
    except subprocess.CalledProcessError:
        return None
    return made


def _files(folder: Path) -> Path:
    """A file for each call: the answer's bytes, as they stand in DATA."""
    root = folder / "files"
    for path in (AUTHORIZE, AUTHENTICATE):
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\0" + len(ALLOW).to_bytes(4) + ALLOW)
    return root


def _place(source: Path) -> Path:
    """Of the program, in a folder of what it is made of."""
    digest = sha256(source.read_bytes() + INTERFACE.read_bytes()).hexdigest()[:_DIGITS]
    return BUILT / f"{source.stem}-{digest}" / source.stem


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _missing(name: str, packages: str) -> str:
    return f"{name}: cannot be had here; on Debian, `apt install {packages}` brings it."
